from collections.abc import Callable, Mapping

import pytest
from confluent_kafka import Message, Producer

from flows.devkit.embedded import Server
from operators.logic.murmur2 import murmur2, partition_of

# The vectors of Apache Kafka's own UtilsTest.testMurmur2.
JAVA = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


@pytest.mark.parametrize(("data", "signed"), JAVA.items())
def test_hash_equals_the_java_clients(data: bytes, signed: int) -> None:
    assert murmur2(data) == signed % 2**32


def test_partitions_equal_librdkafkas_on_a_real_broker(
    broker: Server, topics_for: Callable[[Server, Mapping[str, int]], dict[str, str]]
) -> None:
    topic = topics_for(broker, {"clicks": 7})["clicks"]
    chosen: dict[bytes, int] = {}

    def delivered(error: object, message: Message) -> None:
        assert error is None
        chosen[message.key()] = message.partition()

    producer = Producer({"bootstrap.servers": broker.address, "partitioner": "murmur2_random"})
    keys = ["ü" * (i % 3) + "v" * (i % 9) + f"{i}" for i in range(300)]
    for key in keys:
        producer.produce(topic, value=b"{}", key=key, on_delivery=delivered)
    assert producer.flush(20) == 0
    assert chosen == {key.encode(): partition_of(key, 7) for key in keys}
