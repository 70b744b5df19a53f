"""What an experiment's record cannot say, by the field that is wrong; and what cannot follow."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from operators.logic.catalog import NO_CATALOG, CatalogHistory
from operators.logic.catalog_check import read_entry
from operators.logic.catalog_limits import take_in
from operators.logic.experiments.effects import without_effect
from operators.logic.experiments.succession import flaw_of_succession
from schemas.bounds import MOST_EXPERIMENTS
from schemas.catalog import Experiment, PolicySettings, Variation
from schemas.codec import Flaw, encode
from schemas.experiments import Layer, Metric, RampStep
from tests.logic.experiments.test_assignment import experiment
from tests.support import records as make

DAY = timedelta(days=1)


def read(**changes: Any) -> Any:
    """Read the JSON of a record that runs, with changes."""
    record = msgspec.json.decode(encode(experiment())) | changes
    return read_entry(msgspec.json.encode(record))


def test_a_whole_record_has_no_fault_and_reads_back() -> None:
    whole = experiment(
        weights=(98.9, "1/3", 1),
        mode="bandit",
        floor=0.2,
        layer=Layer(layer_id="page", stop=5000),
        ramp=[RampStep(time=make.START, share=0.1), RampStep(time=make.START + DAY, share=1.0)],
        metrics=[Metric(metric_id="revenue", source="purchase", cap=500.0, range=(0.0, 100.0))],
        starts_at=make.START,
        ends_at=make.START + 30 * DAY,
    )
    assert read_entry(encode(whole)) == whole


def variations(*weights: Any, **changes: Any) -> list[dict[str, Any]]:
    return [
        {"id": name, "weight": weight} | changes
        for name, weight in zip("abcdefghijk", weights, strict=False)
    ]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"variations": []}, "variations"),
        ({"variations": variations(1)}, "variations"),
        ({"variations": variations(1), "state": "draft"}, "variations"),
        ({"variations": variations(0, 0)}, "variations"),
        ({"variations": variations(1, 0)}, "variations"),
        ({"variations": variations("0/7", "0.0")}, "variations"),
        ({"variations": variations("1/0", 1)}, "variations"),
        ({"variations": variations(1, 1) + variations(1)}, "variations"),
        ({"variations": variations(1, 1e-7)}, "variations[1].weight"),
        ({"variations": variations(1, -1)}, "variations[1].weight"),
        ({"variations": variations(1, "half")}, "variations[1].weight"),
        ({"variations": variations(1, 1, actions=[])}, "variations[0].actions"),
        ({"variations": variations(1, 1, actions=["x", "x"])}, "variations[0].actions"),
        ({"variations": variations(1, 1, actions=["x"], policy={})}, "variations[0]"),
        ({"variations": variations(1, 1, policy={"kind": "?"})}, "variations[0].policy.kind"),
        ({"variations": variations(*[1] * 21)[:0] + [{"id": str(n)} for n in range(21)]},
         "variations"),
        ({"variations": {"a": 0.5, "b": 0.5}}, "variations"),
        ({"variations": variations(*[1] * 11), "mode": "bandit"}, "floor"),
        ({"baseline": None}, "baseline"),
        ({"baseline": "z"}, "baseline"),
        ({"variations": variations(0, 1, 1)}, "baseline"),
        ({"variations": [{"id": "a", "enabled": False}, {"id": "b"}]}, "baseline"),
        ({"unit": "visit"}, "unit"),
        ({"layer": {"layer_id": "x", "start": 5, "stop": 5}}, "layer.stop"),
        ({"layer": {"layer_id": "x", "stop": 10_001}}, "layer.stop"),
        ({"state": "scheduled"}, "starts_at"),
        ({"starts_at": "2026-05-01T00:00:00Z", "ends_at": "2026-05-01T00:00:00Z"}, "ends_at"),
        (
            {
                "ramp": [
                    {"time": "2026-05-01T00:00:00Z", "share": 0.5},
                    {"time": "2026-05-01T00:00:00Z", "share": 1.0},
                ]
            },
            "ramp[1].time",
        ),
        ({"ramp": [{"time": "2300-05-01T00:00:00Z", "share": 0.5}]}, "ramp[0].time"),
        ({"ramp": [{"time": "2026-05-01T00:00:00Z", "share": 1.5}]}, "ramp[0].share"),
        ({"targeting": {"all_of": [{"field": "a"}]}}, "targeting.all_of[0].values"),
        (
            {"targeting": {"any_of": [{"field": "a", "operator": "lt", "values": [1, 2]}]}},
            "targeting.any_of[0].values",
        ),
        (
            {"targeting": {"any_of": [{"field": "a", "operator": "lt", "values": [True]}]}},
            "targeting.any_of[0].values",
        ),
        (
            {"targeting": {"any_of": [{"field": "a", "operator": "exists", "values": [1]}]}},
            "targeting.any_of[0].values",
        ),
        ({"targeting": {"all_of": [{"field": "a", "values": [2**70]}]}},
         "targeting.all_of[0].values[0]"),
        ({"metrics": [{"metric_id": "a"}, {"metric_id": "a"}]}, "metrics"),
        ({"metrics": [{"metric_id": "a", "range": [1, 1]}]}, "metrics[0].range"),
        ({"metrics": [{"metric_id": "a", "range": [0, 1e-9]}]}, "metrics[0].range"),
        ({"metrics": [{"metric_id": "a", "range": [-1, 1], "cap": 2}]}, "metrics[0].cap"),
        ({"metrics": [{"metric_id": "a", "cap": 0}]}, "metrics[0].cap"),
        ({"winner": "a"}, "winner"),
        ({"winner": "z", "state": "decided"}, "winner"),
        ({"proposal": {"step": "pull", "author": "x", "reason": ""}}, "proposal.variation_id"),
        ({"proposal": {"step": "ramp", "author": "x", "reason": ""}}, "proposal.share"),
        (
            {"proposal": {"step": "decide", "author": "x", "reason": "", "variation_id": "z"}},
            "proposal.variation_id",
        ),
        (
            {"change": {"step": "edit", "author": "x", "reason": "", "evidence": {"n": 2**70}}},
            "change.evidence.n",
        ),
        ({"assigned_by": "subject", "layer": {"name": "x"}}, "layer"),
    ],
)  # fmt: skip
def test_a_fault_is_named_by_its_field(changes: dict[str, Any], field: str) -> None:
    flaw = read(**changes)
    assert isinstance(flaw, Flaw)
    assert (flaw.field or "").removesuffix(".layer_id") == field
    assert flaw.detail


def test_a_draft_may_lack_what_it_needs_to_run() -> None:
    assert isinstance(read(state="draft", variations=[], baseline=None), Experiment)
    assert isinstance(read(state="draft", variations={"a": 0.5}, baseline=None), Experiment)
    assert isinstance(read(deleted=True, variations=[]), Experiment)


def test_a_metric_by_subject_without_a_cap_is_taken_and_said_never_to_act() -> None:
    for unit, cap, noted in (
        ("subject", None, True),
        ("subject", 5.0, False),
        ("decision", None, False),
    ):
        made = experiment(unit=unit, metrics=[Metric(metric_id="m", cap=cap)])
        notes = dict(without_effect(made, NO_CATALOG))
        assert ("metrics[0].cap" in notes) is noted


def test_unknown_slots_and_actions_are_named() -> None:
    history = CatalogHistory()
    take_in(history, [make.slot("home"), make.action("x")])
    made = experiment(
        variations=[Variation(id="a", actions=["x"]), Variation(id="b", actions=["x", "gone"])]
    )
    notes = dict(without_effect(made, history.as_of(2**61)))
    assert "'gone'" in notes["variations[1].actions"]
    assert "variations[0].actions" not in notes
    assert "slot_id" in dict(without_effect(made, NO_CATALOG))


def test_experiments_of_a_slot_beyond_those_that_divide_are_named() -> None:
    history = CatalogHistory()
    made = [experiment(f"t{number:02d}") for number in range(MOST_EXPERIMENTS + 1)]
    assert take_in(history, [make.slot("home"), *made]) == []
    catalog = history.as_of(2**61)
    noted = [each for each in made if "slot_id" in dict(without_effect(each, catalog))]
    assert noted == made[-1:]


# What follows


def later(made: Experiment, seconds: int = 1, **changes: Any) -> Experiment:
    return replace(made, id=f"v{seconds}", time=made.time + timedelta(seconds=seconds), **changes)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"variations": [Variation(id="a"), Variation(id="b", weight=2)]}, "variations"),
        ({"variations": [Variation(id="b"), Variation(id="a")]}, "variations"),
        ({"variations": [Variation(id=name) for name in "abc"]}, "variations"),
        ({"variations": [Variation(id="a"), Variation(id="b", actions=["x"])]}, "variations"),
        (
            {"variations": [Variation(id="a"), Variation(id="b", policy=PolicySettings())]},
            "variations",
        ),
        ({"baseline": "b"}, "baseline"),
        ({"unit": "decision"}, "unit"),
        ({"mode": "bandit"}, "mode"),
        ({"slot_id": "side"}, "slot_id"),
        ({"metrics": [Metric(metric_id="m", cap=3.0)]}, "metrics"),
        ({"state": "draft"}, "state"),
        ({"state": "scheduled", "starts_at": make.START}, "state"),
    ],
)
def test_what_has_run_keeps_what_divides_it(changes: dict[str, Any], field: str) -> None:
    """openflagr/flagr#464: subjects of one variation landed in another."""
    running = experiment()
    for before in (running, later(running, state="paused"), later(running, state="stopped")):
        flaw = flaw_of_succession(before, later(before, **({"state": before.state} | changes)))
        assert flaw is not None
        assert flaw[0] == field
    draft = experiment(state="draft")
    assert flaw_of_succession(draft, later(draft, **changes)) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"variations": [Variation(id="a", weight=2.0), Variation(id="b", weight="2")]},
        {"variations": [Variation(id="a"), Variation(id="b", enabled=False)]},
        {"ramp": [RampStep(time=make.START, share=0.1)]},
        {"layer": Layer(layer_id="x")},
        {"ends_at": make.START + DAY},
        {"source": "a new title"},
        {"state": "paused"},
        {"state": "stopped"},
        {"state": "decided", "winner": "b"},
        {"deleted": True},
    ],
)
def test_what_moves_nobody_to_another_variation_may_change(changes: dict[str, Any]) -> None:
    assert flaw_of_succession(experiment(), later(experiment(), **changes)) is None


def test_only_a_running_experiment_is_decided() -> None:
    """Eshajha19/agri#2018: a paused experiment was promoted by a timer."""
    for state in ("paused", "stopped", "draft"):
        before = experiment(state=state)
        flaw = flaw_of_succession(before, later(before, state="decided", winner="b"))
        assert flaw is not None
        assert flaw[0] == "state"
    ended = experiment(ends_at=make.START)
    assert flaw_of_succession(ended, later(ended, state="decided")) is None


def test_the_catalog_leaves_out_what_cannot_follow_and_says_so() -> None:
    running = experiment()
    reshuffled = later(running, variations=[Variation(id="a"), Variation(id="b", weight=9)])
    history = CatalogHistory()
    ((place, flaw),) = take_in(history, [make.slot("home"), running, reshuffled])
    assert (place, flaw.reason, flaw.field) == (2, "invalid_value", "variations")
    assert history.as_of(2**61).experiments["t1"] == running
    assert not history.add(reshuffled)
    assert history.add(running)
    again = CatalogHistory(history.state())
    assert not again.add(reshuffled)
    deletion = later(running, 2, deleted=True)
    assert take_in(again, [deletion, later(reshuffled, 3)]) == []


def test_a_record_that_comes_before_a_known_one_is_judged_by_that_too() -> None:
    history = CatalogHistory()
    draft, stopped = experiment(state="draft"), later(experiment(state="stopped"), 9)
    assert take_in(history, [draft, later(experiment(), 8), stopped]) == []
    between = later(experiment(weights=(1, 5)), 5)
    ((_, flaw),) = take_in(history, [between])
    assert flaw.field == "variations"


def test_a_range_of_a_layer_is_one_experiments() -> None:
    first = experiment("t1", layer=Layer(layer_id="x", stop=6000))
    history = CatalogHistory()
    assert take_in(history, [make.slot("home"), first]) == []

    def refused(made: Experiment) -> str | None:
        found = take_in(CatalogHistory(history.state()), [made])
        return found[0].flaw.field if found else None

    overlapping = experiment("t2", layer=Layer(layer_id="x", start=5999))
    assert refused(overlapping) == "layer"
    assert refused(replace(overlapping, state="scheduled", starts_at=make.START + DAY)) == "layer"
    assert refused(experiment("t2", layer=Layer(layer_id="x", start=6000))) is None
    assert refused(experiment("t2", layer=Layer(layer_id="y"))) is None
    assert refused(experiment("t2", state="draft", layer=overlapping.layer)) is None
    other_unit = experiment("t2", unit="decision", layer=Layer(layer_id="x", start=6000))
    assert refused(other_unit) == "layer"
    assert take_in(history, [later(first, state="stopped")]) == []
    assert refused(later(overlapping)) is None


def test_a_record_of_an_earlier_release_is_a_draft_without_effect() -> None:
    old = read_entry(
        b'{"type": "experiment", "id": "1", "time": "2026-01-01T00:00:00Z", "experiment_id": "e",'
        b' "slot_id": "home", "variations": {"control": 0.5, "treated": 0.5}, "enabled": true}'
    )
    assert isinstance(old, Experiment)
    assert (old.state, old.time) == ("draft", datetime(2026, 1, 1, tzinfo=UTC))
    running = experiment("e", time=old.time + DAY)
    assert flaw_of_succession(old, running) is None
