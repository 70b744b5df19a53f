"""``banditflow verify``: what a flow made and learned, against a recomputation from its topics."""

from collections.abc import Iterator, Sequence
from functools import partial

from flows.registry import PERSONALIZE
from flows.runtime.clock import system_clock
from flows.verification.answers import RequestAnswers
from flows.verification.findings import ActionCheck, Verification, describe
from flows.verification.late_withdrawals import (
    Judge,
    closed_keys,
    judge_with_late_withdrawals,
)
from flows.verification.learning import Learners
from flows.verification.outcomes import Outcomes
from flows.verification.pending import compare_pending, weights_of
from flows.verification.reading import (
    Cut,
    DeadLetters,
    catalog_of,
    dead_letters_of,
    events,
    read_cuts,
)
from flows.verification.tables import compare_tables
from flows.verification.unused import UNUSED, without_unused
from operators.envelope import Event
from operators.io.kafka.partition import read_partition
from operators.io.releases import PROCESSING_ERROR
from operators.logic.attribution.reasons import LATE_WITHDRAWAL
from operators.logic.catalog import CatalogHistory
from operators.logic.deciding.positions import position_key
from operators.logic.recount import Verdict, recount
from schemas.bounds import MOST_POSITIONS
from schemas.clock import micros
from schemas.events import DecisionBack
from schemas.settings import Settings
from schemas.topics import Topic

__all__ = ["ActionCheck", "Verification", "describe", "verify"]


def verify(settings: Settings) -> Verification:
    """Recompute what the flows had made when their last epochs closed, and compare.

    Reads the personalize flow's recovery store and the topics; where the persist flow has run with
    the same recovery folder, its store too. The flows may be stopped or running. Needs memory for
    the events of one partition at a time (``docs/reference/cli.md`` says how much).
    """
    states, cuts = read_cuts(settings)
    verification = Verification()
    verification.store, verification.behind = compare_tables(settings)
    history = catalog_of(settings)
    learners = Learners(history, states)
    for shard, cut in enumerate(cuts):
        _compare_shard(settings, verification, history, learners, shard, cut)
    learners.compare(verification, states)
    return verification


def _compare_shard(
    settings: Settings,
    verification: Verification,
    history: CatalogHistory,
    learners: Learners,
    shard: int,
    cut: Cut,
) -> None:
    """Compare what one shard made; its events are forgotten afterwards."""
    letters = dead_letters_of(settings, shard)
    usable, quarantined = _read_events(settings, verification, shard, cut, letters)
    usable = list(_drop_waiting_for_settled(usable, cut))
    taken_in = [event for event in usable if cut.includes(event)]
    judged = _judge(settings, history, shard, letters)
    verdicts = judged(taken_in)
    outcomes = Outcomes(verification, verdicts, cut.ledger, quarantined)
    outcomes.compare(_outcomes_of(settings, shard), partial(judged, usable))
    compare_pending(verification, cut.ledger, verdicts, outcomes.evicted)
    learned = (verdict for key, verdict in verdicts.items() if key not in outcomes.evicted)
    learners.learn(learned, weights_of(cut.ledger, verdicts))


def _read_events(
    settings: Settings,
    verification: Verification,
    shard: int,
    cut: Cut,
    letters: DeadLetters,
) -> tuple[list[Event], set[int]]:
    """Read a shard's events, see that its requests are answered, and give what counts.

    Gives the keys of positions, too, of whose decision a record is quarantined.
    """
    answers, quarantined, known = RequestAnswers(verification), set[int](), list[Event]()
    for topic in PERSONALIZE.resumes:
        if topic is Topic.DECISION_REQUESTS:
            continue
        for event in events(settings, topic, shard, letters):
            known.append(event)
            if topic is Topic.DECISIONS:
                answers.take(event)
            reason = letters.reasons.get((topic.value, event.origin.offset))
            if reason in UNUSED or reason == LATE_WITHDRAWAL:
                verification.excluded[reason] = verification.excluded.get(reason, 0) + 1
                if reason == PROCESSING_ERROR:
                    positions = range(MOST_POSITIONS)
                    quarantined.update(position_key(event.key, each) for each in positions)
    requests = events(settings, Topic.DECISION_REQUESTS, shard, letters)
    answers.compare(requests, cut, letters.reasons)
    return without_unused(known, letters.reasons), quarantined


def _drop_waiting_for_settled(known: Sequence[Event], cut: Cut) -> Iterator[Event]:
    """Leave out what still waits for decisions that were settled before their time."""
    ledger = cut.ledger
    settled = {
        event.key
        for event in known
        if ledger.settled_ahead
        and type(event.body) is DecisionBack
        and ledger.is_settled(event.at, micros(event.body.expires_at))
    }
    waiting = {(event.origin.topic, event.origin.offset) for event in ledger.orphans}
    for event in known:
        place = (event.origin.topic, event.origin.offset)
        if event.key not in settled or place not in waiting:
            yield event


def _judge(settings: Settings, history: CatalogHistory, shard: int, letters: DeadLetters) -> Judge:
    """Give what judges a shard's decisions by some of its events."""
    tolerance = round(settings.time.clock_tolerance * 1e6)

    def judge(known: Sequence[Event]) -> dict[int, Verdict]:
        return recount(known, lambda at: history.as_of(at).slots, tolerance)

    if LATE_WITHDRAWAL not in letters.reasons.values():
        return judge
    closed = closed_keys(_outcomes_of(settings, shard))
    return partial(judge_with_late_withdrawals, judge, letters=letters.reasons, closed=closed)


def _outcomes_of(settings: Settings, shard: int) -> Iterator[bytes]:
    for payload, _, _, _ in read_partition(settings.kafka, Topic.OUTCOMES, shard, system_clock):
        yield payload
