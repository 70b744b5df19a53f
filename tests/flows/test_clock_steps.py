"""The machine's clock steps about while the flow runs: what it makes of the records is the same."""

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from flows.replay.logged import catalog_of, records_of
from flows.replay.open_bandit import SHIPPED, OpenBanditLog, read_open_bandit
from flows.replay.replay import ETA, SECRET, run_flow
from schemas.catalog import PolicySettings, Slot
from schemas.settings import load

SETTINGS = load({}, secret=SECRET, partitions=1)
WHOLE = read_open_bandit(SHIPPED, "random")
LOG = OpenBanditLog(WHOLE.policy, [*WHOLE.rows[:60], *(r for r in WHOLE.rows if r.click)], [])


class Stepping:
    """A clock that is set ahead or back by the next of some hours at each look."""

    def __init__(self, hours: list[float]) -> None:
        self._hours = hours
        self.looks = 0

    def __call__(self) -> datetime:
        self.looks += 1
        return datetime.now(UTC) + timedelta(hours=self._hours[self.looks % len(self._hours)])


@settings(max_examples=5, deadline=None)
@given(st.lists(st.floats(-48.0, 48.0), min_size=2, max_size=6, unique=True))
def test_steps_of_the_clock_change_nothing(hours: list[float]) -> None:
    log = OpenBanditLog(LOG.policy, LOG.rows, WHOLE.items)
    catalog = catalog_of(log, PolicySettings())
    assert isinstance(catalog[0], Slot)
    records = records_of(log, catalog[0].features, SETTINGS, ETA)
    clock = Stepping(hours)
    stepped, steady = (
        run_flow(records, catalog, SETTINGS, clock),
        run_flow(records, catalog, SETTINGS),
    )
    assert clock.looks > 2
    assert stepped == steady
    assert stepped.dead_letters == {}
