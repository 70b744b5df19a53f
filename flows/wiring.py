"""The composition root: settings become sources and sinks, and those a dataflow."""

from bytewax.dataflow import Dataflow

from flows import persist, personalize
from flows.store import open_store
from operators.decode import reader
from operators.fences import dead_letter_fence, decision_fence, outcome_fence
from operators.io.kafka_catalog import CatalogSource
from operators.io.kafka_sink import KafkaSink, SharedProducer
from operators.io.kafka_source import GroupSource, TopicSource
from operators.io.redis import RedisSink
from operators.persist import StoreSink, topics
from schemas.settings import Settings
from schemas.topics import Topic


def personalize_flow(settings: Settings) -> Dataflow:
    """Wire the personalize dataflow to Kafka and Redis."""
    shared = SharedProducer(settings)
    sources = personalize.Sources(
        records=GroupSource(settings, reader(settings)), catalog=CatalogSource(settings)
    )
    sinks = personalize.Sinks(
        decisions=KafkaSink(shared, Topic.DECISIONS, decision_fence),
        outcomes=KafkaSink(shared, Topic.OUTCOMES, outcome_fence),
        profiles=KafkaSink(shared, Topic.PROFILES),
        policies=KafkaSink(shared, Topic.POLICIES),
        dead_letters=KafkaSink(shared, Topic.DEAD_LETTERS, dead_letter_fence),
        hot=RedisSink(settings),
    )
    return personalize.build(sources, sinks, settings)


def persist_flow(settings: Settings) -> Dataflow:
    """Wire the persist dataflow to Kafka and the durable store."""
    source = TopicSource(settings, persist.as_written, topics())
    sink = StoreSink(lambda: open_store(settings), settings.partitions)
    return persist.build(source, sink, settings)


FLOWS = {"personalize": personalize_flow, "persist": persist_flow}
"""Every flow by its name on the command line."""
