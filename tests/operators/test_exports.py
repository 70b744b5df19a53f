"""Whatever a learner has learned reaches readers outside in time, though nothing more comes."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from operators.io.metrics.learner import LearnerMetrics
from operators.learner import LearnerLogic, resumed
from operators.logic.models import CanonicalOrder
from operators.logic.policy_versions import first_version
from operators.logic.publish_rule import EXPORT_INTERVAL
from operators.updates import PosteriorUpdate
from schemas.catalog import PolicySettings
from schemas.clock import NEVER, micros
from schemas.results import PolicySnapshot
from tests.support import records as make
from tests.support.learning import ACTIONS, FEATURES, deltas
from tests.support.settled import settled, settlements

SLOT = make.slot(
    "home",
    policy=PolicySettings(kind="logistic", publish_rewards=3, publish_interval=0.25),
    features=FEATURES,
)
TICK = timedelta(milliseconds=10)

Step = tuple[str, Any]

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("update"), st.tuples(st.integers(1, 3), st.booleans())),
        st.tuples(st.just("settle"), st.integers(1, 3)),
        st.tuples(st.just("wait"), st.sampled_from([0.0, 0.03, 0.3, 0.9, 1.5])),
        st.tuples(st.just("quiet"), st.none()),
        st.tuples(st.just("epoch"), st.none()),
        st.tuples(st.just("crash"), st.booleans()),
        st.tuples(st.just("clock back"), st.none()),
    ),
    max_size=25,
)


class Running:
    """A learner as Bytewax runs it, with a clock, crashes, and a reader that keeps the newest."""

    def __init__(self) -> None:
        self.now = make.START
        self.read: PolicySnapshot | None = None
        self.numbers = 0
        self.since_epoch: list[PosteriorUpdate] = []
        self.snapshot: bytes | None = None
        self.executions = 0
        self.start()

    def clock(self) -> datetime:
        return self.now

    def start(self) -> None:
        metrics = LearnerMetrics()
        if self.snapshot is None:
            version, order = first_version(self.executions), CanonicalOrder(1)
            self.logic = LearnerLogic(
                order=order, clock=self.clock, metrics=metrics, version=version
            )
        else:
            self.logic = resumed(self.snapshot, self.clock, metrics, self.executions)
        self.executions += 1

    def take(self, out: Any) -> None:
        for item in out:
            if isinstance(item, PolicySnapshot) and (
                self.read is None or item.version > self.read.version
            ):
                self.read = item

    def feed(self, *updates: PosteriorUpdate) -> None:
        self.since_epoch += updates
        self.take(self.logic.on_batch(list(updates))[0])

    def wait(self, seconds: float) -> None:
        end = self.now + timedelta(seconds=seconds)
        while self.now < end:
            wake = self.logic.notify_at()
            if wake is not None and wake <= self.now:
                self.take(self.logic.on_notify()[0])
            self.now += TICK

    def do(self, name: str, value: Any) -> None:
        if name == "update":
            count, rewarded = value
            numbers = range(self.numbers, self.numbers + count)
            self.numbers += count
            newest = micros(make.START) + self.numbers * 1000 if rewarded else NEVER
            self.feed(self.update(deltas=deltas(list(numbers)), rewards=count, newest=newest))
        elif name == "settle":
            outcomes = [settled(self.numbers + place, "a", 1.0) for place in range(value)]
            self.numbers += value
            settled_at = outcomes[-1].settled_at
            assert settled_at is not None
            watermark = micros(settled_at) + 1
            self.feed(self.update(settled=[settlements(outcomes)], watermark=watermark))
        elif name == "wait":
            self.wait(value)
        elif name == "epoch" and self.since_epoch:
            self.snapshot, self.since_epoch = self.logic.snapshot(), []
        elif name == "crash":
            again, self.since_epoch = self.since_epoch, []
            self.start()
            self.wait(0.0 if value else 0.5)
            if again:  # what the crash undid comes again, in one batch
                self.feed(*again)
        elif name == "clock back":
            self.now -= timedelta(hours=1)

    def update(self, **changes: Any) -> PosteriorUpdate:
        plain = PosteriorUpdate(shard=0, watermark=NEVER, slot=SLOT, actions=ACTIONS)
        return replace(plain, **changes)

    def assert_the_reader_is_up_to_date(self) -> None:
        logic, read = self.logic, self.read
        if logic.slot is None:
            return
        assert read is not None
        assert logic.policy is not None
        assert logic.model is not None
        assert logic.views is not None
        context = logic.views.deciding.context
        assert (read.decisions, read.rewards) == (logic.decisions, logic.rewards)
        assert read.models == logic.model.report()
        assert read.actions == logic.policy.publish().summary(context.mean())


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_a_reader_has_everything_within_two_seconds_of_quiet(steps: list[Step]) -> None:
    running = Running()
    for name, value in [*steps, ("quiet", None)]:
        if name == "clock back":  # what waits for a time on the clock waits for it again
            running.wait(2.0)
        if name == "quiet":
            running.wait(EXPORT_INTERVAL.total_seconds() + 0.3)
            running.assert_the_reader_is_up_to_date()
        else:
            running.do(name, value)


def test_a_steady_slot_exports_once_a_second() -> None:
    running = Running()
    versions = set()
    for _ in range(100):
        running.do("update", (3, True))
        running.wait(0.05)
        assert running.read is not None
        versions.add(running.read.version)
    assert 4 <= len(versions) <= 6


def test_the_end_of_the_input_exports_what_is_left() -> None:
    running = Running()
    for _ in range(3):
        running.do("update", (3, True))
    running.take(running.logic.on_eof()[0])
    running.assert_the_reader_is_up_to_date()
