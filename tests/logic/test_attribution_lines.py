"""Outcomes that are written many at once say exactly what each one written alone would."""

import base64
import struct

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from operators.logic.attribution import pending, reports, texts
from operators.logic.attribution.kinds import Kinds
from operators.logic.attribution.lines import unrewarded
from operators.logic.attribution.pending import Pending
from operators.logic.attribution.rules import Kind, Rules
from schemas.codec import decode, encode
from schemas.results import Outcome
from schemas.topics import Topic

RULES = Rules("first", 1.0, 0.25, 0.0, 1.0, True, False, False, False)
KINDS = [
    Kind("home", "a", "beta", None, None, "immediate", False, 20_000_000, RULES),
    Kind('the "best" slot', "ä\n", "", "x1", "b", "wait", True, 1, RULES),
    Kind("home", "b", "linear", None, "v", "exposure", False, 86_400_000_000, RULES),
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
    st.integers(-(10**15), 4 * 10**15),
    st.integers(0, len(KINDS) - 1),
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
    kinds = Kinds(KINDS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pending, "CHUNK", 4)
        kept = Pending()
        packed = [texts.pack(*decision[6:]) for decision in decisions]  # type: ignore[arg-type]
        blobs = [blob for blob in packed if blob is not None]
        assert len(blobs) == len(decisions)
        columns = [*zip(*(decision[:6] for decision in decisions), strict=True)]
        rows = kept.add(1, [*columns, [0] * len(blobs)], blobs, 0)
        messages = unrewarded(kept, kinds, rows)
        for row, message in zip(rows.tolist(), messages, strict=True):
            outcome = reports.settled(kept, row, kinds.all[int(kept.kind[row])], None)
            back = decode(Topic.OUTCOMES, message.value)
            assert isinstance(back, Outcome)
            assert back == outcome == decode(Topic.OUTCOMES, encode(outcome))
            assert (message.id, message.key) == (
                reports.outcome_id(int(kept.key[row]), "settled", reports.SETTLED_REVISION),
                outcome.key.encode(),
            )
