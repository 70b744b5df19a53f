"""The personalize dataflow: attribute, learn, profile and decide."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import Source
from bytewax.outputs import Sink

from flows.registry import INPUT, OUTPUT, STATE, Step
from flows.wiring import Wiring
from operators.attach_catalog import HOLD_STATE, OLDER_HOLDS, attach_catalog
from operators.attribute import ATTRIBUTION_STATE, attribute
from operators.cache import cache_decisions, cache_policies, cache_profiles
from operators.decide.admission import ADMISSION_STATE
from operators.decide.kernel_loading import KernelLoading
from operators.decide.scoring import decide
from operators.decode import reader
from operators.envelope import Batch, CatalogUpdate, Message, Rejected
from operators.factors import FACTORS_STATE, factors
from operators.gathering import Gathered
from operators.io.metrics.root import Metrics
from operators.io.redis import CacheWrite
from operators.learn import learn
from operators.learner_state import LEARNER_STATE
from operators.logic.answer_window import AnswerProgress
from operators.logic.catalog import CatalogedBatch
from operators.logic.placement import shard_key
from operators.logic.policies.published import PublishedPolicy
from operators.logic.policy_versions import nothing_published
from operators.profile import PROFILES_STATE, profile
from operators.publish import (
    dead_letters,
    encode_checkpoints,
    encode_policies,
    encode_profiles,
)
from operators.touch import touch
from operators.updates import FactorVectors
from schemas.clock import Clock
from schemas.settings import Settings
from schemas.topics import Topic


class Steps(Step):
    """The steps that keep state, by their ids: a recovery store knows their state by them."""

    RECORDS = "personalize.records", INPUT
    CATALOG = "personalize.catalog", INPUT
    HOLD = "personalize.admit.hold", STATE, HOLD_STATE, OLDER_HOLDS
    PROFILES = "personalize.profile.keep", STATE, PROFILES_STATE
    ATTRIBUTION = "personalize.attribute.life", STATE, ATTRIBUTION_STATE
    FACTORS = "personalize.factors.learn", STATE, FACTORS_STATE
    LEARNERS = "personalize.learn.slot", STATE, LEARNER_STATE
    ADMISSION = "personalize.decide.queue.admit", STATE, ADMISSION_STATE
    DECISIONS_OUT = "personalize.decisions_out", OUTPUT
    OUTCOMES_OUT = "personalize.outcomes_out", OUTPUT
    PROFILES_OUT = "personalize.profiles_out", OUTPUT
    POLICIES_OUT = "personalize.policies_out", OUTPUT
    CHECKPOINTS_OUT = "personalize.checkpoints_out", OUTPUT
    DEAD_LETTERS_OUT = "personalize.dead_letters_out", OUTPUT
    CACHE_OUT = "personalize.hot_out", OUTPUT


OFFSETS = Steps.RECORDS
"""The step whose snapshots hold the offsets that the flow resumes from."""


@dataclass(frozen=True)
class Sources:
    """What the flow reads: aligned event batches by shard, and catalog updates.

    ``published`` gives the highest policy version of a slot that readers outside may have;
    ``answers`` is told which requests are answered, which the batches go by.
    """

    records: Source[tuple[str, Batch]]
    catalog: Source[tuple[str, CatalogUpdate]]
    published: Callable[[str], int] = nothing_published
    answers: AnswerProgress = field(default_factory=AnswerProgress)


@dataclass(frozen=True)
class Sinks:
    """What the flow writes: one sink per topic, and the copies in Redis."""

    decisions: Sink[tuple[str, list[Message]]]
    outcomes: Sink[tuple[str, list[Message]]]
    profiles: Sink[tuple[str, list[Message]]]
    policies: Sink[tuple[str, list[Message]]]
    checkpoints: Sink[tuple[str, list[Message]]]
    dead_letters: Sink[tuple[str, list[Message]]]
    cache: Sink[tuple[str, list[CacheWrite]]]


def build(
    sources: Sources,
    sinks: Sinks,
    settings: Settings,
    clock: Clock,
    metrics: Metrics,
    executions: int = 0,
) -> Dataflow:
    """Build the dataflow; a step's name is part of its recovery state and never changes.

    ``executions`` counts the executions on its recovery store before this one.
    """
    time, state, shard_count = settings.time, settings.state, settings.kafka.partitions
    value_bytes = settings.kafka.max_value_bytes
    shards = [shard_key(shard) for shard in range(shard_count)]

    kernels = KernelLoading()

    def every_shard(item: tuple[str, CatalogUpdate]) -> list[tuple[str, CatalogUpdate]]:
        update = item[1]
        kernels.take_in(update.entries)
        others = replace(update, places=())
        return [(shard, update if shard == shards[0] else others) for shard in shards]

    def to_scoring(item: tuple[str, PublishedPolicy]) -> list[tuple[str, PublishedPolicy]]:
        return [(shard, item[1]) for shard in shards]

    def to_profiles(item: tuple[str, FactorVectors]) -> list[tuple[str, FactorVectors]]:
        return [(shard, item[1]) for shard in shards]

    flow = Dataflow("personalize")
    catalog = op.input("catalog", flow, sources.catalog)
    records = op.input("records", flow, sources.records)
    read = reader(settings)

    by_shard = op.flat_map("catalog_to_shards", catalog, every_shard)
    cataloged = attach_catalog("admit", records, by_shard, read, time, clock, metrics.records)
    gathered = op.map_value("positions", cataloged.gathered, _batch_of)
    attributed = attribute("attribute", gathered, time, state, metrics.attribution)
    factored = factors("factors", attributed.factor_updates, shard_count, state, metrics.factors)
    embeddings = op.flat_map("factors_to_shards", factored, to_profiles)
    profiled = profile("profile", cataloged.batches, embeddings, state, metrics.profiles)
    learned = learn(
        "learn",
        attributed.posterior_updates,
        shard_count,
        executions,
        clock,
        metrics.learner,
        sources.published,
    )
    policies = op.flat_map("policies_to_shards", learned.policies, to_scoring)
    decided = decide(
        "decide",
        profiled.batches,
        policies,
        settings.secret.encode(),
        time,
        state,
        settings.experiments,
        value_bytes,
        sources.answers,
        clock,
        metrics.decisions,
    )

    rejected = op.merge(
        "rejected",
        cataloged.rejected,
        attributed.rejected,
        decided.rejected,
        op.filter_map("rejected_catalog", catalog, _rejected_catalog),
    )
    copies = op.merge(
        "hot",
        cache_decisions("hot_decisions", gathered, settings.redis.ttl),
        cache_profiles("hot_profiles", profiled.changes, settings.redis.ttl),
        cache_policies("hot_policies", learned.snapshots, settings.redis.ttl),
    )
    policies_out = encode_policies("policies", learned.snapshots, value_bytes)
    touched = touch("touch", gathered, clock)
    decisions_out = op.merge("decisions", decided.decisions, touched)
    outcomes_out = op.merge("outcomes", attributed.outcomes, touched)
    op.output("decisions_out", decisions_out, sinks.decisions)
    op.output("outcomes_out", outcomes_out, sinks.outcomes)
    profiles = encode_profiles("profiles", profiled.changes)
    profiles_out = op.merge("profiles_and_touches", profiles, touched)
    op.output("profiles_out", profiles_out, sinks.profiles)
    op.output("policies_out", policies_out, sinks.policies)
    checkpoints = encode_checkpoints("checkpoints", learned.checkpoints)
    op.output("checkpoints_out", checkpoints, sinks.checkpoints)
    letters = dead_letters("dead_letters", rejected, metrics.records)
    letters_out = op.merge("letters", letters, touched)
    op.output("dead_letters_out", letters_out, sinks.dead_letters)
    op.output("hot_out", copies, sinks.cache)
    return flow


def wire(wiring: Wiring) -> Dataflow:
    """Build the dataflow on Kafka and Redis."""
    sources = Sources(
        records=wiring.events(),
        catalog=wiring.catalog(),
        published=wiring.published(),
        answers=wiring.answers,
    )
    sinks = Sinks(
        decisions=wiring.topic(Topic.DECISIONS),
        outcomes=wiring.topic(Topic.OUTCOMES),
        profiles=wiring.topic(Topic.PROFILES),
        policies=wiring.topic(Topic.POLICIES),
        checkpoints=wiring.topic(Topic.CHECKPOINTS),
        dead_letters=wiring.topic(Topic.DEAD_LETTERS),
        cache=wiring.cache(),
    )
    return build(sources, sinks, wiring.settings, wiring.clock, wiring.metrics, wiring.executions)


def _batch_of(gathered: Gathered) -> CatalogedBatch:
    return gathered.batch


def _rejected_catalog(item: tuple[str, CatalogUpdate]) -> tuple[str, list[Rejected]] | None:
    return (shard_key(0), list(item[1].rejected)) if item[1].rejected else None
