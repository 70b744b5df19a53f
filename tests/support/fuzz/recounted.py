"""What the flow made of turns of records, against a recomputation from the records alone."""

from collections.abc import Container

import numpy as np

from flows.registry import PERSONALIZE
from flows.runtime.snapshots import states_of
from flows.verification.findings import Verification
from flows.verification.learning import Learners
from flows.verification.outcomes import Outcomes
from flows.verification.pending import compare_pending, weights_of
from flows.verification.reading import ledger_of
from operators.decode import reader
from operators.envelope import Event
from operators.logic.attribution.ledger import Ledger
from operators.logic.attribution.pending import LIVE
from operators.logic.catalog import CatalogHistory
from operators.logic.catalog_check import read_entry
from operators.logic.recount import recount
from schemas.clock import ALWAYS
from schemas.codec import Flaw, decode
from schemas.events import DecisionBack
from schemas.settings import Settings
from schemas.topics import Topic
from tests.support.fuzz.playing import Outputs
from tests.support.fuzz.turns import Place, TurnLog
from tests.support.fuzz.visitors import SLOTS


def recounted(
    log: TurnLog, settings: Settings, made: Outputs, without: Container[Place]
) -> Verification:
    """Compare outcomes, what is pending and what was learned with the records not left out.

    Of the visitors' slots: those that wild catalog records change, also for times that have been,
    are decided by the catalog that was known then, which no recomputation knows.
    """
    states = states_of(settings, PERSONALIZE)
    history = CatalogHistory()
    by_shard: dict[int, list[Event]] = {k: [] for k in range(settings.kafka.partitions)}
    read = reader(settings)
    for place, record in log.records():
        if place in without:
            continue
        if record.topic is Topic.CATALOG:
            entry = read_entry(record.value)
            assert not isinstance(entry, Flaw), "a flawed catalog record without a dead letter"
            history.add(entry)
            continue
        event = read(record.topic, place[1], record.key, record.value, place[2], ALWAYS // 4)
        assert isinstance(event, Event), "a record that cannot be read without a dead letter"
        if not (isinstance(event.body, DecisionBack) and event.body.slot_id not in SLOTS):
            by_shard[place[1]].append(event)
    report, learners = Verification(), Learners(history)
    tolerance = round(settings.time.clock_tolerance * 1e6)
    for shard, events in by_shard.items():
        verdicts = recount(events, lambda at: history.as_of(at).slots, tolerance)
        ledger = ledger_of(settings, states, shard)
        outcomes = Outcomes(report, verdicts, ledger)
        written = (message.value for message in made.outcomes.written[shard])
        payloads = [value for value in written if decode(Topic.OUTCOMES, value).slot_id in SLOTS]
        outcomes.compare(payloads, lambda verdicts=verdicts: verdicts)  # type: ignore[misc]
        compare_pending(report, ledger, verdicts, outcomes.evicted)
        report.pending.different -= _pending_elsewhere(ledger)
        learners.learn(verdicts.values(), weights_of(ledger, verdicts))
    learners.compare(report, states)
    report.actions = [check for check in report.actions if check.slot_id in SLOTS]
    return report


def _pending_elsewhere(ledger: Ledger) -> int:
    pending, classes = ledger.pending, ledger.classes.all
    numbers = pending.decision_class[np.flatnonzero(pending.flags & LIVE)]
    return sum(classes[number].slot_id not in SLOTS for number in numbers.tolist())
