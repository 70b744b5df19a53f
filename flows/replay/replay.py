"""A logged bandit's decisions and clicks through the personalize flow, and what was learned."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec
import numpy as np
from bytewax.testing import TestingSink, run_main
from msgspec import Struct
from prometheus_client import CollectorRegistry

from flows import personalize
from flows.replay.evaluation import PolicyValue, by_decision_time, progressive, values
from flows.replay.logged import action_id, catalog_of, records_of
from flows.replay.open_bandit import Floats, OpenBanditLog, production_prior, thompson_probabilities
from flows.runtime.clock import system_clock
from operators.decode import reader
from operators.io.memory import MemoryCatalogSource, MemorySink, Records, memory_group_source
from operators.io.metrics.root import Metrics
from schemas.catalog import Action, CatalogEntry, PolicySettings, Slot
from schemas.clock import Clock
from schemas.results import ActionSummary, DeadLetter, Outcome
from schemas.settings import Settings

T = TypeVar("T")

ETA = -5.0
"""The log-odds at which contextual policies linearise: clicks are some 0.5 % in such logs."""

PRIORS = {
    "beta": {"prior_reward": 1.0, "prior_failure": 200.0},
    "logistic": {"prior_mean": ETA},
    "diagonal": {"prior_mean": ETA},
}
"""What is known before the first row: fashion recommendations earn about 0.5 clicks in 100."""

SECRET = "replayed logs hold no raw ids"
"""Keys the pseudonyms of synthetic subjects, which identify nobody."""


class Replayed(Struct):
    """What the flow made of a log: its settled outcomes in order, and its dead letters."""

    outcomes: list[Outcome]
    dead_letters: dict[str, int]


class ReplayReport(Struct):
    """What a replay showed of one policy's log.

    ``clicks_by_action`` is the flow's count; ``recounted`` says whether it equals the CSV's.
    ``learned`` describes every action, that with the highest posterior mean first.
    """

    log: str
    rows: int
    settled: int
    clicks: int
    dead_letters: dict[str, int]
    recounted: bool
    clicks_by_action: dict[str, int]
    values: list[PolicyValue]
    learned: list[ActionSummary]
    seconds: float


def replay(
    log: OpenBanditLog,
    expected: dict[int, int],
    settings: Settings,
    policy: PolicySettings,
    refresh: int = 10,
    advance: Callable[[int], None] = lambda _: None,
) -> ReplayReport:
    """Run a log through the personalize flow and say what ``policy`` learned and was worth.

    ``expected`` is the recount of clicks by item.
    """
    start = time.perf_counter()
    catalog = catalog_of(log, policy)
    slot = next(entry for entry in catalog if isinstance(entry, Slot))
    actions = [entry for entry in catalog if isinstance(entry, Action)]
    records = records_of(log, slot.features, settings, ETA)
    made = run_flow(records, catalog, settings)
    scored = progressive(slot, actions, made.outcomes, refresh, advance)
    clicks: Counter[str] = Counter()
    for outcome in made.outcomes:
        clicks[outcome.action_id] += round(outcome.reward)
    wanted = {action_id(item): count for item, count in expected.items()}
    targets = {policy.kind: scored.target} | references(log, made.outcomes)
    return ReplayReport(
        log=log.policy,
        rows=len(log.rows),
        settled=len(made.outcomes),
        clicks=clicks.total(),
        dead_letters=made.dead_letters,
        recounted=clicks == wanted and len(made.outcomes) == len(log.rows),
        clicks_by_action=dict(sorted(clicks.items())),
        values=values(made.outcomes, targets),
        learned=sorted(scored.posterior.summary(scored.context), key=_worth),
        seconds=time.perf_counter() - start,
    )


def run_flow(
    records: Records,
    catalog: Sequence[CatalogEntry],
    settings: Settings,
    clock: Clock = system_clock,
) -> Replayed:
    """Run the personalize flow on records in memory, to the end of every reward window."""
    shards = settings.kafka.partitions
    outcomes, dead_letters, decisions = (MemorySink(shards) for _ in range(3))
    sources = personalize.Sources(
        records=memory_group_source(records, reader(settings), shards),
        catalog=MemoryCatalogSource(catalog),
    )
    sinks = personalize.Sinks(
        decisions=decisions,
        outcomes=outcomes,
        profiles=MemorySink(shards),
        policies=MemorySink(1),
        checkpoints=MemorySink(1),
        dead_letters=dead_letters,
        cache=TestingSink([]),
    )
    metrics = Metrics(CollectorRegistry())
    run_main(personalize.build(sources, sinks, settings, clock, metrics))
    settled = [o for o in _read(outcomes, Outcome) if o.status == "settled"]
    reasons = Counter(letter.reason for letter in _read(dead_letters, DeadLetter))
    return Replayed(by_decision_time(settled), dict(reasons))


def references(log: OpenBanditLog, outcomes: Sequence[Outcome]) -> dict[str, Floats]:
    """Give what policies that do not learn would have given each logged action.

    ``uniform``, and ``bts-prior``: the production Thompson sampling at its published prior, where
    the log has its 80 items.
    """
    rows = [log.rows[int(o.decision_id.rpartition("-")[2])] for o in outcomes]
    targets = {"uniform": np.full(len(rows), 1.0 / len(log.items))}
    alpha, beta = production_prior()
    if len(log.items) == len(alpha):
        p = thompson_probabilities(alpha, beta)
        targets["bts-prior"] = p[[r.item for r in rows], [r.position - 1 for r in rows]]
    return targets


def _worth(action: ActionSummary) -> tuple[bool, float]:
    """Sort the action that is worth most first; those of which nothing is known come last."""
    worth = action.observed if action.mean is None else action.mean
    return worth is None, -(worth or 0.0)


def _read(sink: MemorySink, kind: type[T]) -> list[T]:
    decode = msgspec.json.Decoder(kind).decode
    return [decode(message.value) for written in sink.written.values() for message in written]
