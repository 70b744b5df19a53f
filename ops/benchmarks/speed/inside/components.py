"""Which component of the personalize process each step, function and thread belongs to.

The one place to change when a step, a class or a thread of the flow gets another name: what is
named here and is no more ends the process with its name, and so does a step that is not named.
"""

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

DECODE, ALIGN = "decode", "alignment"
ATTACH, PROFILE, ATTRIBUTE = "attach catalog", "profile", "attribute"
ADMISSION, DECIDE = "admission", "decide: the rest"
FEATURES, DRAW = "decide: features", "decide: probabilities and draw"
ENCODE, LEARN = "decide: encode", "learn"
REDIS, REDIS_THREAD = "Redis: build and buffer", "Redis: writer thread"
CLIENTS = "Kafka client threads"
CONSUME = "consume, access of key and value"
TURN = "a source's turn"
METRICS, PRODUCE = "metrics", "produce, delivery reports, fence"
SNAPSHOTS = "snapshots and segments"
REST = "Bytewax core and the rest"

COMPUTE = (
    DECODE, ATTACH, PROFILE, ATTRIBUTE, ADMISSION, FEATURES, DRAW, ENCODE, DECIDE, LEARN,
)  # fmt: skip
"""What is computed, with decoding; alignment is the other part of reading."""

COMPONENTS = (
    *COMPUTE, REDIS, REDIS_THREAD, REST, CLIENTS, CONSUME, TURN, ALIGN, METRICS, PRODUCE, SNAPSHOTS,
)  # fmt: skip
"""All of them; they add up to the CPU of the whole process."""

WORK = (ATTACH, PROFILE, ATTRIBUTE, ADMISSION, DECIDE)
"""Components of steps that work on what a turn of the source gave, after it."""

STEPS = {
    "records": TURN,
    "catalog": TURN,
    "catalog_to_shards": ATTACH,
    "admit": ATTACH,
    "positions": ATTRIBUTE,
    "attribute": ATTRIBUTE,
    "factors": LEARN,
    "factors_to_shards": LEARN,
    "profile": PROFILE,
    "learn": LEARN,
    "policies_to_shards": LEARN,
    "decide.queue": ADMISSION,
    "decide.score": DECIDE,
    "hot": REDIS,
    "hot_decisions": REDIS,
    "hot_profiles": REDIS,
    "hot_policies": REDIS,
    "hot_out": REDIS,
    "rejected_catalog": PRODUCE,
    "rejected": PRODUCE,
    "touch": PRODUCE,
    "letters": PRODUCE,
    "profiles_and_touches": PRODUCE,
    "dead_letters": PRODUCE,
    "decisions": PRODUCE,
    "outcomes": PRODUCE,
    "profiles": PRODUCE,
    "policies": PRODUCE,
    "checkpoints": PRODUCE,
    "decisions_out": PRODUCE,
    "outcomes_out": PRODUCE,
    "profiles_out": PRODUCE,
    "policies_out": PRODUCE,
    "checkpoints_out": PRODUCE,
    "dead_letters_out": PRODUCE,
}
"""Steps by their names within the flow; a step has its own steps' time, too."""

RECORDS = "records"
"""The source whose turns and batches are counted."""

FUNCTIONS = {
    "operators.decode:RecordReader.many": DECODE,
    "operators.logic.alignment:Lane.extend": ALIGN,
    "operators.logic.alignment:Alignment.release": ALIGN,
    "operators.io.kafka.fetch:SharedConsumer.poll": CONSUME,
    "operators.io.kafka.fetch:Inlet.take": CONSUME,
    "operators.io.kafka.group:GroupPartition._decode": CONSUME,
    "operators.decide.scoring:_candidates": FEATURES,
    "operators.decide.scoring:select": DRAW,
    "operators.decide.scoring:decision_records": ENCODE,
    "operators.decide.scoring:decision_messages": ENCODE,
    "operators.decide.scoring:subject_windows": ENCODE,
    "operators.decide.scoring:_observe": METRICS,
    "operators.io.metrics.records:RecordMetrics.taken_in": METRICS,
    "operators.io.metrics.records:RecordMetrics.dead_letters": METRICS,
    "operators.io.metrics.records:RecordMetrics.duplicates": METRICS,
    "operators.io.metrics.kafka:KafkaMetrics.written": METRICS,
    "operators.io.metrics.kafka:KafkaMetrics.suppressed": METRICS,
    "operators.io.metrics.attribution:AttributionMetrics.held": METRICS,
    "operators.io.metrics.attribution:AttributionMetrics.not_learned": METRICS,
    "operators.io.metrics.attribution:AttributionMetrics.outcomes": METRICS,
    "operators.io.metrics.attribution:AttributionMetrics.conflicts": METRICS,
    "operators.io.metrics.learner:LearnerMetrics.actions": METRICS,
    "operators.io.metrics.learner:LearnerMetrics.ignored": METRICS,
    "operators.io.metrics.learner:LearnerMetrics.model": METRICS,
    "operators.io.metrics.subjects:ProfileMetrics.profiles": METRICS,
    "operators.io.metrics.subjects:FactorMetrics.factors": METRICS,
}
"""Functions, as the modules that call them know them, that only the worker's thread calls."""

THREADS = {"rdk:": CLIENTS, "cache writer": REDIS_THREAD, "segments": SNAPSHOTS}
"""How the names of threads begin, librdkafka's own and Python's."""

LENGTHS = ("events",)
"""Attributes of what the source gives whose length is the number of records in it."""


def component_of(step_id: str) -> str:
    """Find the component of a step by its whole id; raises :class:`LookupError` where none is."""
    name = step_id.partition(".")[2]
    while name:
        if name in STEPS:
            return STEPS[name]
        name = name.rpartition(".")[0]
    raise LookupError(f"{step_id} has no component: name it in {__file__}")


def functions() -> Iterator[tuple[Any, str, Callable[..., Any], str]]:
    """Give each function's owner, name, the function and its component.

    Raises :class:`LookupError` where there is no such function any more.
    """
    for path, component in FUNCTIONS.items():
        module, _, name = path.partition(":")
        owner: Any = import_module(module)
        *classes, attribute = name.split(".")
        try:
            for each in classes:
                owner = getattr(owner, each)
            function = vars(owner)[attribute]
        except (AttributeError, KeyError):
            raise LookupError(f"{path} is no more: name what is, in {__file__}") from None
        yield owner, attribute, function, component


def batches_in(given: object) -> Iterator[int]:
    """Give the number of records of each batch in what a source gave, empty ones left out."""
    if isinstance(given, list | tuple):
        for each in given:
            yield from batches_in(each)
        return
    for name in LENGTHS:
        if hasattr(given, name) and (count := len(getattr(given, name))):
            yield count
