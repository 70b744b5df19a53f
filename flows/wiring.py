"""The composition root: settings become sources and sinks, and those a dataflow."""

from collections.abc import Callable

from bytewax.dataflow import Dataflow

from operators.io.metrics.root import Metrics
from operators.logic.placement import ALONE, Place
from schemas.settings import Settings
from schemas.topics import GROUP, Topic


def personalize_flow(settings: Settings, metrics: Metrics, place: Place = ALONE) -> Dataflow:
    """Wire the personalize dataflow to Kafka and Redis, for one worker of a cluster."""
    from flows import personalize
    from operators.decode import reader
    from operators.fences import dead_letter_fence, decision_fence, outcome_fence
    from operators.io.kafka import CatalogSource, GroupSource, KafkaSink, SharedProducer
    from operators.io.kafka.pace import Pace
    from operators.io.redis import RedisSink
    from operators.logic.catalog_check import flaw_of

    shared = SharedProducer(settings, metrics.kafka)
    pace = Pace(settings.epoch, place == ALONE)
    sources = personalize.Sources(
        records=GroupSource(
            settings, reader(settings), place=place, pace=pace, metrics=metrics.kafka
        ),
        catalog=CatalogSource(settings, flaw_of, pace, metrics.kafka),
    )
    sinks = personalize.Sinks(
        decisions=KafkaSink(shared, Topic.DECISIONS, decision_fence, place),
        outcomes=KafkaSink(shared, Topic.OUTCOMES, outcome_fence, place),
        profiles=KafkaSink(shared, Topic.PROFILES, place=place),
        policies=KafkaSink(shared, Topic.POLICIES, place=place),
        checkpoints=KafkaSink(shared, Topic.CHECKPOINTS, place=place),
        dead_letters=KafkaSink(shared, Topic.DEAD_LETTERS, dead_letter_fence, place),
        hot=RedisSink(settings, metrics.redis),
    )
    return personalize.build(sources, sinks, settings, metrics)


def persist_flow(settings: Settings, metrics: Metrics, place: Place = ALONE) -> Dataflow:
    """Wire the persist dataflow to Kafka and the durable store: any worker may have any part."""
    from flows import persist
    from flows.runtime.store import open_store
    from operators.io.kafka import TopicSource
    from operators.io.kafka.pace import Pace
    from operators.persist import StoreSink, topics

    pace = Pace(settings.epoch, place == ALONE)
    source = TopicSource(settings, persist.as_written, topics(), pace=pace, metrics=metrics.kafka)
    sink = StoreSink(
        lambda: open_store(settings, metrics.store), settings.partitions, metrics=metrics.store
    )
    return persist.build(source, sink, settings, metrics.records)


FLOWS: dict[str, Callable[[Settings, Metrics, Place], Dataflow]] = {
    "personalize": personalize_flow,
    "persist": persist_flow,
}
"""Every flow by its name on the command line; each imports only what it needs."""


def topics_of(flow: str) -> list[Topic]:
    """Give the topics that a flow reads and writes."""
    if flow == "persist":
        from operators.persist import topics

        return list(topics())
    results = (Topic.OUTCOMES, Topic.PROFILES, Topic.POLICIES, Topic.CHECKPOINTS)
    return [*GROUP, Topic.CATALOG, *results, Topic.DEAD_LETTERS]
