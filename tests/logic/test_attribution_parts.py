"""Attribution's bounds, its reasons, and the parts that its state is packed with."""

from uuid import UUID

import hypothesis.strategies as st
import numpy as np
from hypothesis import given, settings

from operators.logic.attribution import reasons
from operators.logic.attribution.decision_codec import (
    HEADER_BYTES,
    pack_decision,
    pack_decisions,
    packed_subject,
    unpack_decision,
)
from operators.logic.attribution.key_index import KeyIndex
from tests.support.histories import (
    LATENESS,
    SECOND,
    SLOTS,
    START,
    TOLERANCE,
    WINDOW,
    Driver,
    Visitors,
)

NOT_A_NUMBER = "AACAPwAAwH8="
"""The features (1, NaN)."""

NAMES = st.one_of(
    st.text(min_size=1, max_size=40),
    st.uuids().map(str),
    st.uuids().map(lambda value: str(value).upper()),
    st.binary(min_size=8, max_size=18).map(bytes.hex),
)


@given(st.one_of(st.none(), st.sampled_from(["", "AACAPw==", "AACAPwAAAEA="])), NAMES, NAMES)
def test_packed_texts_come_back(features: str | None, subject: str, decision_id: str) -> None:
    blob = pack_decision(features, subject, decision_id)
    assert blob is not None
    assert unpack_decision(blob) == (features, subject, decision_id)
    assert packed_subject(blob) == subject


@given(
    st.lists(
        st.tuples(
            st.sampled_from([None, "", "AACAPw==", "AACAPwAAAEA=", NOT_A_NUMBER, "AAA=", "A", "é"]),
            st.one_of(st.none(), st.sampled_from(["ab" * 16, "AB" * 16, "a-" * 16]), NAMES),
            st.one_of(st.uuids().map(str), st.sampled_from(["-" * 36, "a" * 36]), NAMES),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_many_are_packed_as_each(names: list[tuple[str | None, str | None, str]]) -> None:
    assert pack_decisions(names) == [pack_decision(*each) for each in names]
    assert pack_decisions(names[:1] * 3) == [pack_decision(*names[0])] * 3


def test_names_as_banditflow_writes_them_take_16_bytes_each() -> None:
    blob = pack_decision(None, "ab" * 16, str(UUID(int=7)))
    assert blob is not None
    assert len(blob) == HEADER_BYTES + 32


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 63)), max_size=200), st.integers(0, 20))
def test_the_index_is_a_dict(changes: list[tuple[bool, int]], shift: int) -> None:
    column = np.arange(256, dtype=np.uint64) << np.uint64(shift)
    index, expected = KeyIndex(), dict[int, int]()
    for add, row in changes:
        many = [row] if row % 2 else [*range(64 + row, 256, 2)]
        some = [each for each in many if (each in expected) != add]
        if add:
            index.insert(column[some], np.array(some, dtype=np.int64), column)
            expected |= {each: each for each in some}
        else:
            index.remove(column[some], np.array(some, dtype=np.int64))
            expected = {each: each for each in expected if each not in some}
    found = index.find(column, column).tolist()
    assert found == [expected.get(row, -1) for row in range(256)]
    assert index.find_few(column.tolist(), column) == found
    assert len(index) == len(expected)


def test_the_decisions_that_expire_first_are_evicted_and_count_for_nothing() -> None:
    visitors, driver = Visitors(), Driver(max_pending=2)
    made = [visitors.decision("at-once", None, START + n, key=n + 1) for n in range(5)]
    driver.step([made[0], visitors.click(made[0], START + 10)], START)
    driver.step(made[1:], START)
    assert driver.attribution.pending == 2
    assert [driver.final[key].reason for key in (1, 2, 3)] == [reasons.EVICTED] * 3
    assert driver.counts[0] == driver.rewards[0] == 0.0
    driver.finish()
    assert [driver.final[key].status for key in (4, 5)] == ["settled"] * 2


def test_the_oldest_orphans_leave_first() -> None:
    visitors, driver = Visitors(), Driver(max_orphans=2)
    made = [visitors.decision("plain", None, START, key=n) for n in range(3)]
    driver.step([visitors.click(made[n], START + n) for n in range(3)], START)
    assert driver.reasons == [reasons.ORPHAN_OVERFLOW]
    driver.step(made, START)
    driver.finish()
    assert [driver.final[n].status for n in range(3)] == ["void", "settled", "settled"]


def test_an_orphan_is_given_up_when_no_decision_can_come_any_more() -> None:
    visitors, driver = Visitors(), Driver()
    decision = visitors.decision("plain", None, START, key=1)
    driver.step([visitors.impression(decision, START)], START + LATENESS)
    assert driver.attribution.waiting == 1
    driver.step([], START + LATENESS + TOLERANCE)  # it may bear an earlier time than its decision
    assert driver.attribution.waiting == 1
    driver.step([], START + LATENESS + TOLERANCE + SECOND)
    assert driver.reasons == [reasons.NO_DECISION]
    driver.step([visitors.click(decision, START)], START + LATENESS + SECOND)
    assert driver.reasons[-1] == reasons.LATE


def test_the_first_of_two_answers_holds() -> None:
    visitors, driver = Visitors(), Driver()
    first = visitors.decision("plain", None, START, key=1)
    other = visitors.decision("plain", None, START, key=1, action_id="b")
    driver.step([first], START)
    driver.step([first, other], START)
    assert driver.reasons == [reasons.DUPLICATE_DECISION, reasons.CONFLICTING_DECISION]
    driver.finish()
    assert driver.final[1].action_id == "a"


def test_a_decision_that_cannot_be_used_is_rejected_by_name() -> None:
    visitors, driver = Visitors(), Driver()
    bad = [
        visitors.decision("plain", None, START, key=1, features="AAA="),
        visitors.decision("nowhere", None, START, key=3),
        visitors.decision("plain", None, START, key=4, features=NOT_A_NUMBER),
    ]
    step = driver.step(bad, START)
    found = [(rejected.reason, rejected.field) for rejected in step.rejected]
    assert found == [
        (reasons.INVALID_DECISION, "features"),
        (reasons.UNKNOWN_SLOT, "slot_id"),
        (reasons.INVALID_DECISION, "features"),
    ]
    assert driver.attribution.pending == 0


def test_a_late_event_counts_while_its_decision_is_pending() -> None:
    visitors, driver = Visitors(), Driver()
    decision = visitors.decision("plain", None, START, key=1)
    driver.step([decision], START + WINDOW)
    driver.step([visitors.click(decision, START + SECOND)], START + WINDOW)
    driver.finish()
    assert driver.final[1].reward == 1.0
    assert driver.final[1].delay == 1.0


def test_every_slot_of_the_histories_has_its_own_rules() -> None:
    assert {slot.learning_mode for slot in SLOTS.values()} == {"immediate", "wait", "exposure"}
    assert {slot.reward_aggregation for slot in SLOTS.values()} == {"first", "sum", "max"}


def test_reason_names_are_bounded() -> None:
    names = {
        value for name, value in vars(reasons).items() if name.isupper() and type(value) is str
    }
    assert names == reasons.REJECTIONS | reasons.VOIDS | set(filter(None, reasons.NOT_LEARNED))
