"""``banditflow state lower-watermark``: every step that keeps the time, and what it says."""

from pathlib import Path

import pytest

from flows.cli.main import main
from flows.personalize import Steps
from flows.runtime.lowering import lower_watermarks, lowering
from flows.runtime.recovery import RecoveryError
from flows.runtime.seeding import write_recovery
from flows.runtime.snapshots import read_states
from operators.attach_catalog import HOLD_STATE, AttachState, WaitingBatch, unpack_attach
from operators.attribute import AttributeState, pack_attribute, unpack_attribute
from operators.decide.admission import begin_admission
from operators.factors import FACTORS_STATE, FactorsState
from operators.io.kafka.group import SourceState, begin_at, lower_source, restore
from operators.logic.attribution import AttributionState
from operators.logic.attribution.ledger import SettledAhead
from operators.logic.catalog import CatalogState
from operators.logic.models import CanonicalOrder
from operators.logic.subjects.profiles import Profiles
from operators.profile import PROFILES_STATE, ProfileState, unpack_profiles
from schemas.clock import NEVER
from schemas.settings import load
from schemas.state import pack, unpack
from schemas.topics import Topic

LATENESS = 60_000_000
NOW = 1_780_000_000_000_000
AHEAD = NOW + 172_800_000_000
LOWER = lowering(LATENESS)


def test_every_step_that_keeps_state_is_lowered_but_those_that_only_write() -> None:
    stateful = {step for step in Steps if step.state_format is not None} | {Steps.RECORDS}
    assert set(LOWER) == stateful


@pytest.mark.parametrize(("watermark", "lowered"), [(AHEAD, NOW), (NOW, NOW), (NEVER, NEVER)])
def test_a_watermark_is_lowered_and_all_else_stays(watermark: int, lowered: int) -> None:
    source = lower_source(begin_at({Topic.CLICKS: 7}), NOW)
    assert source == (begin_at({Topic.CLICKS: 7}), NEVER)
    batch = WaitingBatch(shard=1, watermark=watermark, at_end=True, records=[("clicks", b"", 3, 4)])
    held = pack(*HOLD_STATE, AttachState(CatalogState(), [batch], [batch]))
    after, before = LOWER[Steps.HOLD](held, NOW)
    assert before == watermark
    attach = unpack_attach(after)
    assert [each.watermark for each in [*attach.held, *attach.gathered]] == [lowered] * 2
    assert attach.held[0].records == batch.records
    profiles = pack(*PROFILES_STATE, ProfileState(1, Profiles(9.0).dump(), watermark, watermark))
    after, before = LOWER[Steps.PROFILES](profiles, NOW)
    assert (before, unpack_profiles(after).watermark) == (watermark, lowered)
    assert unpack_profiles(after).published == lowered
    after, before = LOWER[Steps.ADMISSION](begin_admission(["home"]), NOW)
    assert (before, after) == (NEVER, begin_admission(["home"]))


def test_what_is_settled_is_remembered_where_its_time_is_lowered() -> None:
    state = AttributionState(horizon=AHEAD - LATENESS, decided=NOW - 5)
    snapshot = pack_attribute(AttributeState(3, state))
    after, before = LOWER[Steps.ATTRIBUTION](snapshot, NOW)
    lowered = unpack_attribute(after)
    assert (lowered.shard, before) == (3, AHEAD)
    assert lowered.attribution.horizon == NOW - LATENESS
    assert lowered.attribution.settled_ahead == [SettledAhead(NOW - 5, AHEAD - LATENESS)]
    assert LOWER[Steps.ATTRIBUTION](after, NOW) == (after, NOW)


def test_the_factors_order_is_lowered_and_withdrawals_stay() -> None:
    order = CanonicalOrder(2)
    for shard in range(2):
        order.add(shard, AHEAD - LATENESS, [])
    snapshot = pack(*FACTORS_STATE, FactorsState(order.dump(), None, [(AHEAD, "s")]))
    after, before = LOWER[Steps.FACTORS](snapshot, NOW)
    state = unpack(*FACTORS_STATE, FactorsState, after)
    assert before == AHEAD
    assert CanonicalOrder.load(state.order).watermark == NOW - LATENESS
    assert state.withdrawn == [(AHEAD, "s")]


def test_a_store_is_rewritten_as_a_whole_where_something_lies_ahead(tmp_path: Path) -> None:
    settings = load({}, secret="sixteen letters!", recovery=str(tmp_path), partitions=2)
    with pytest.raises(RecoveryError, match="no flow has run"):
        lower_watermarks(settings, NOW, lambda: pytest.fail("nobody asks"))
    assert not list(tmp_path.iterdir()), "and none is made"
    folder = tmp_path / "personalize"
    attribution = pack_attribute(AttributeState(0, AttributionState(horizon=AHEAD)))
    parts = {str(k): begin_at({Topic.CLICKS: k}) for k in range(2)}
    write_recovery(
        folder,
        "personalize",
        Steps.RECORDS,
        parts,
        {Steps.ATTRIBUTION: {"00000": attribution}},
    )
    lowered = lower_watermarks(settings, NOW, lambda: pytest.fail("nobody asks"))
    assert [(each.step, each.key) for each in lowered] == [(Steps.ATTRIBUTION, "00000")]
    states = read_states(folder)
    assert {key: restore(state) for key, state in states[Steps.RECORDS].items()} == {
        str(k): SourceState({"clicks": k}, NEVER) for k in range(2)
    }
    assert unpack_attribute(states[Steps.ATTRIBUTION]["00000"]).attribution.horizon <= NOW
    assert not lower_watermarks(settings, NOW, lambda: pytest.fail("nobody asks"))


@pytest.mark.parametrize("text", ["yesterday", "2026-11-27T12:00:00", ""])
def test_a_time_without_a_zone_is_refused_in_a_sentence(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["state", "lower-watermark", "--to", text])
    assert "is no time with a zone, such as 2026-11-27T12:00:00Z" in capsys.readouterr().err
