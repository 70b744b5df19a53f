"""Outcomes that are written many at once say exactly what each one written alone would."""

import base64
import struct

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from operators.logic.attribution import chunks
from operators.logic.attribution.chunks import DecisionColumns
from operators.logic.attribution.decision_classes import DecisionClass, DecisionClasses
from operators.logic.attribution.decision_codec import pack_decision
from operators.logic.attribution.outcomes import (
    SETTLED_REVISION,
    OutcomeEncoder,
    outcome_id,
    settled_outcome,
)
from operators.logic.attribution.pending import Pending
from operators.logic.attribution.rules import AttributionRules
from schemas.clock import EARLIEST
from schemas.codec import decode, encode
from schemas.results import Outcome
from schemas.topics import Topic

RULES = AttributionRules(
    aggregation="first",
    click_reward=1.0,
    default=0.25,
    low=0.0,
    high=1.0,
    needs_impression=True,
    viewable_only=False,
    quarantine=False,
)
CLASSES = [
    DecisionClass(
        slot_id="home",
        action_id="a",
        policy="beta",
        experiment_id=None,
        variation_id=None,
        learning_mode="immediate",
        deferred=False,
        window=20_000_000,
        rules=RULES,
    ),
    DecisionClass(
        slot_id='the "best" slot',
        action_id="ä\n",
        policy="",
        experiment_id="x1",
        variation_id="b",
        learning_mode="wait",
        deferred=True,
        window=1,
        rules=RULES,
    ),
    DecisionClass(
        slot_id="home",
        action_id="b",
        policy="linear",
        experiment_id=None,
        variation_id="v",
        learning_mode="exposure",
        deferred=False,
        window=86_400_000_000,
        rules=RULES,
    ),
]
FLOATS = st.floats(-9.0, 9.0, width=32)
FEATURES = st.one_of(
    st.none(),
    st.lists(FLOATS, max_size=6).map(
        lambda row: base64.b64encode(struct.pack(f"<{len(row)}f", *row)).decode()
    ),
)
NAMES = st.one_of(
    st.text(min_size=1, max_size=12), st.uuids().map(str), st.binary(min_size=16, max_size=16)
    .map(bytes.hex), st.binary(min_size=10, max_size=10).map(bytes.hex)
)  # fmt: skip
DECISIONS = st.tuples(
    st.integers(0, 2**64 - 1),
    st.integers(EARLIEST, 4 * 10**15),
    st.integers(0, len(CLASSES) - 1),
    st.floats(1e-12, 1.0),
    st.floats(-50.0, 50.0),
    st.integers(0, 2**32 - 1),
    FEATURES,
    st.one_of(st.none(), NAMES),
    NAMES,
)


@settings(deadline=None, max_examples=200)
@given(st.lists(DECISIONS, min_size=1, max_size=20, unique_by=lambda each: each[0]))
def test_every_line_is_the_outcome(decisions: list[tuple[object, ...]]) -> None:
    classes = DecisionClasses(dict(enumerate(CLASSES)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "CHUNK", 4)
        kept = Pending()
        packed = [pack_decision(*decision[6:]) for decision in decisions]  # type: ignore[arg-type]
        blobs = [blob for blob in packed if blob is not None]
        assert len(blobs) == len(decisions)
        columns = map(list, zip(*(decision[:6] for decision in decisions), strict=True))
        zeros = [0] * len(blobs)
        rows = kept.add(1, DecisionColumns(*columns, tag=zeros, visitor=zeros), blobs, 0)
        for row in rows.tolist():
            kept.give_reason(row, row % 4)
        messages = OutcomeEncoder(kept, classes).encode(rows)
        for row, message in zip(rows.tolist(), messages, strict=True):
            outcome = settled_outcome(kept, row, classes.all[int(kept.decision_class[row])], None)
            back = decode(Topic.OUTCOMES, message.value)
            assert isinstance(back, Outcome)
            assert back == outcome == decode(Topic.OUTCOMES, encode(outcome))
            assert (message.id, message.key) == (
                outcome_id(int(kept.key[row]), "settled", SETTLED_REVISION),
                outcome.key.encode(),
            )
