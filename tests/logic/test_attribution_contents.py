"""A decision whose logged features are none is refused, and nothing else with it."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import LoggedFeatures, Placed
from tests.support.histories import START, Driver, Visitors


@given(flawed_first=st.booleans(), slate=st.booleans())
def test_a_flawed_copy_of_a_decision_refuses_itself_alone(flawed_first: bool, slate: bool) -> None:
    visitors = Visitors()
    flawed = [LoggedFeatures("b" if slate else "a", msgspec.Raw(b'"no object"'))]
    shown = [Placed("a", 0.5, 0.0), Placed("b", 0.5, 0.0)] if slate else None
    good = visitors.decision("plain", None, START, 7)
    copy = visitors.decision("plain", None, START, 7, contents=flawed, slate=shown)
    driver = Driver()
    events = [copy, good] if flawed_first else [good, copy]
    driver.step(events, START)
    driver.step([visitors.impression(good, START + 1, viewable=True)], START + 1)
    driver.finish()
    assert driver.rejected == [("invalid_decision", copy.origin.offset)]
    assert [outcome.decision_id for outcome in driver.settled] == [good.body.decision_id]
