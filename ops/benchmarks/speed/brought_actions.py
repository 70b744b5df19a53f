"""What the steps keep of actions that requests bring, when every request brings new ones.

Requests go through admission, scoring, reading back, attribution and the learner of one shard in
memory. Resident memory is compared with what it was when half had passed; the learner and the
attribution begin again from their snapshots in between, and must write the same ones again.
"""

import gc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import msgspec

from flows.runtime.clock import system_clock
from operators import attribute, learner
from operators.attribute import AttributeLogic, unpack_attribute
from operators.decide.admission import RequestAdmission, RequestGroup
from operators.decide.scoring import Scorer
from operators.decode import reader
from operators.envelope import Event
from operators.io.metrics.attribution import AttributionMetrics
from operators.io.metrics.decisions import DecisionMetrics
from operators.io.metrics.learner import LearnerMetrics
from operators.learner import LearnerLogic
from operators.learner_state import unpack_learner
from operators.logic.catalog import CatalogedBatch, CatalogHistory
from operators.logic.models import CanonicalOrder
from operators.logic.murmur2 import partition_of
from operators.logic.policies.published import PublishedPolicy
from operators.updates import PosteriorUpdate
from schemas.catalog import PolicySettings, Slot
from schemas.clock import micros, moment
from schemas.settings import load
from schemas.topics import Topic

CANDIDATES = 10
STRINGS = 10
"""New actions of each request, and new strings in the features of each."""

AT_ONCE = 50
WINDOW, RATE = 10.0, 100.0
"""Seconds of the reward window, requests a second of event time."""

START = datetime(2026, 3, 1, tzinfo=UTC)
SLOT = Slot(
    id="1",
    time=moment(0),
    slot_id="feed",
    candidates="request",
    policy=PolicySettings(kind="beta"),
    reward_window=WINDOW,
    needs_impression=False,
    log_candidates=True,
)


class Steps:
    """The steps of one shard that a request goes through."""

    def __init__(self) -> None:
        self.settings = load({}, secret="a secret of the benchmark", partitions=1)
        history = CatalogHistory()
        history.add(SLOT)
        self._catalog = history.as_of(0)
        self._admission = RequestAdmission(horizon=3_600_000_000)
        self._scorer = Scorer(b"a secret of the benchmark", system_clock, DecisionMetrics())
        self._resume_attribution = partial(
            attribute.resumed, self.settings.time, self.settings.state, None
        )
        self.attribution: AttributeLogic = self._resume_attribution(None, AttributionMetrics())
        self.learner = LearnerLogic(
            order=CanonicalOrder(1), clock=system_clock, metrics=LearnerMetrics()
        )
        self.learned = 0

    def take(self, requests: list[Event], decode: Iterator[int]) -> None:
        """Decide requests, read the decisions back and learn from them."""
        at = max(event.at for event in requests)
        out, _ = self._admission.on_batch([self._batch(at, requests)])
        read, back = reader(self.settings), []
        groups = [("0", each) for each in out if isinstance(each, RequestGroup)]
        for _, messages in self._scorer.decide(groups):
            for message in messages:
                event = read(Topic.DECISIONS, 0, None, message.value, next(decode), at)
                assert isinstance(event, Event), event
                back.append(event)
        results, _ = self.attribution.on_batch([self._batch(at, back)])
        updates = [each for each in results if isinstance(each, PosteriorUpdate)]
        self.learned += sum(len(each.deltas) for each in updates if each.deltas is not None)
        published, _ = self.learner.on_batch(updates)
        policies = [each for each in published if isinstance(each, PublishedPolicy)]
        if policies:
            self._admission.on_batch(policies[-1:])

    def resume(self) -> bool:
        """Begin again from snapshots; say whether what is kept is the same when written again.

        Policy versions begin a new generation.
        """
        snapshots = self.attribution.snapshot(), self.learner.snapshot()
        self.attribution = self._resume_attribution(snapshots[0], AttributionMetrics())
        self.learner = learner.resumed(snapshots[1], system_clock, LearnerMetrics())
        pending, learned = self.attribution.snapshot(), unpack_learner(self.learner.snapshot())
        before, learned.version = unpack_learner(snapshots[1]), 0
        before.version = 0
        kept = unpack_attribute(snapshots[0]).attribution
        return kept == unpack_attribute(pending).attribution and learned == before

    def _batch(self, at: int, events: list[Event]) -> CatalogedBatch:
        return CatalogedBatch(0, at, events, catalog=self._catalog)


def measure(actions: int) -> dict[str, float]:
    """Let so many different actions pass, each with STRINGS new strings."""
    steps, offsets = Steps(), iter(range(10**9))
    read = reader(steps.settings)
    total = actions // CANDIDATES
    half, exact = 0, True
    for first in range(0, total, AT_ONCE):
        requests = []
        for number in range(first, min(first + AT_ONCE, total)):
            subject = f"visitor-{number}"
            assert partition_of(subject.encode(), 1) == 0
            value, at = _request(number, subject)
            event = read(Topic.DECISION_REQUESTS, 0, subject.encode(), value, number, at)
            assert isinstance(event, Event), event
            requests.append(event)
        steps.take(requests, offsets)
        if half == 0 and first >= total // 2:
            exact = steps.resume()
            gc.collect()
            half = _resident()
    exact = exact and steps.resume()
    gc.collect()
    return {
        "brought_actions": float(total * CANDIDATES),
        "brought_strings": float(total * CANDIDATES * STRINGS),
        "brought_decisions_learned": float(steps.learned),
        "brought_growth_mb": (_resident() - half) / 1e6,
        "brought_learner_mb": len(steps.learner.snapshot()) / 1e6,
        "brought_known_actions": float(len(steps.learner.retired)),
        "brought_snapshots_differ": float(not exact),
    }


def _request(number: int, subject: str) -> tuple[bytes, int]:
    at = START + timedelta(seconds=number / RATE)
    actions = [
        {
            "id": f"action-{number}-{place}",
            "features": {f"f{n}": f"string {number}/{place}/{n}" for n in range(STRINGS)},
        }
        for place in range(CANDIDATES)
    ]
    record = {"id": f"r-{number}", "time": at, "subject": subject, "slot_id": "feed"}
    return msgspec.json.encode(record | {"actions": actions}), micros(at)


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
