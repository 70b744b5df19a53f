"""The least that a service between two topics can do: each request goes back as it is.

usage: echo.py, with the settings in the environment. What remains is the broker's own latency.
"""

import confluent_kafka
from confluent_kafka import TopicPartition

from operators.io.kafka import consumer_config, producer_config
from schemas.settings import load
from schemas.topics import Topic


def main() -> None:
    """Copy until killed."""
    settings = load()
    producer = confluent_kafka.Producer(producer_config(settings.kafka))
    consumer = confluent_kafka.Consumer(
        consumer_config(settings.kafka) | {"enable.partition.eof": False}
    )
    asked, said = (
        settings.kafka.topic(Topic.DECISION_REQUESTS),
        settings.kafka.topic(Topic.DECISIONS),
    )
    consumer.assign([TopicPartition(asked, k, 0) for k in range(settings.kafka.partitions)])
    while True:
        for message in consumer.consume(2000, 0.005):
            if message.error() is None:
                producer.produce(said, message.value(), None, message.partition() or 0)
        producer.poll(0)


if __name__ == "__main__":
    main()
