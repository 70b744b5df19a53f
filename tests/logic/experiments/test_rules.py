"""Triggers and actions against the conditions that they stand for, over figures of all kinds."""

import math
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.logic.experiments.bounds import Bounds, BoundsError
from operators.logic.experiments.figures import (
    Comparison,
    Drift,
    Evidence,
    Figures,
    Gates,
    RampStage,
)
from operators.logic.experiments.rules import choose_actions
from operators.logic.experiments.sample_ratio import SampleRatio
from operators.logic.experiments.triggers import find_triggers, new_findings

OTHER = {"increase": "decrease", "decrease": "increase"}


def ratio(alarm):
    process = SampleRatio(["a", "b"])
    process.add_counts([6_000, 4_000] if alarm else [5_000, 5_000], [0.5, 0.5])
    return process.verdict()


ALARMS = {alarm: ratio(alarm) for alarm in (False, True)}


def compared(lower=-0.1, upper=0.1, **changes):
    values = {
        "variation_id": "b",
        "metric": "clicks",
        "role": "primary",
        "direction": "increase",
        "difference": Bounds(lower, upper, 0.95),
    }
    return Comparison(**values | changes)


def figures_of(*comparisons, **changes):
    values = {
        "experiment_id": "x",
        "baseline_id": "a",
        "phase": "running",
        "at": 10**12,
        "days": 10.0,
        "evidence": {name: Evidence(1_000, 100) for name in "abc"},
        "comparisons": comparisons,
        "gates": Gates(days=7.0, units=100, rewards=20),
        "sample_ratio": ALARMS[False],
        "probabilities": {"a": 0.5, "b": 0.5},
        "least_probability": 0.01,
        "last_exposure": 10**12,
        "grace": 3_600_000_000,
    }
    return Figures(**values | changes)


ENDS = st.sampled_from([-math.inf, -0.2, -0.01, 0.0, 0.01, 0.2, math.inf])


@st.composite
def comparisons(draw):
    found = []
    for variation in draw(st.sampled_from([["b"], ["b", "c"]])):
        for metric, role in (("clicks", "primary"), ("sales", "primary"), ("errors", "guardrail")):
            if metric != "clicks" and draw(st.booleans()):
                continue
            lower, upper = sorted((draw(ENDS), draw(ENDS)))
            bounds = Bounds(lower, upper, 0.95)
            found.append(
                Comparison(
                    variation_id=variation,
                    metric=metric,
                    role=role,
                    direction=draw(st.sampled_from(["increase", "decrease"])),
                    difference=draw(st.sampled_from([bounds, bounds, None])),
                    may_act=draw(st.sampled_from([True, True, True, False])),
                    worth=draw(st.sampled_from([None, 0.02])),
                )
            )
    return tuple(found)


FIGURES = st.builds(
    lambda found, alarm, phase, final, units, ramp: figures_of(
        *found,
        sample_ratio=ALARMS[alarm],
        phase="ended" if final and phase == "running" else phase,
        final=final,
        evidence={"a": Evidence(1_000, 100), "b": Evidence(units, 100), "c": Evidence(500, 50)},
        ramp=ramp,
    ),
    comparisons(),
    st.sampled_from([False, False, True]),
    st.sampled_from(["running", "running", "ended", "paused", "stopped", "draft"]),
    st.booleans(),
    st.sampled_from([99, 1_000]),
    st.sampled_from([None, RampStage(0.5, 100, 100), RampStage(0.5, 99, 100)]),
)


def sign(each):
    """+1 where a challenger is better for certain, -1 where it is worse, by the metric's way."""
    if each.difference is None or not each.may_act:
        return 0
    ends = (each.difference.lower, each.difference.upper)
    up = 1 if each.direction == "increase" else -1
    if min(ends) > 0.0:
        return up
    return -up if max(ends) < 0.0 else 0


def enough(figures, name):
    return figures.days >= 7.0 and all(
        figures.evidence[each].units >= 100 and figures.evidence[each].rewards >= 20
        for each in ("a", name)
    )


@settings(max_examples=500)
@given(FIGURES)
def test_actions_are_what_their_conditions_say(figures):
    actions = choose_actions(figures)
    steps = {(action.step, action.power, action.variation_id) for action in actions}
    assert len(steps) == len(actions)
    if figures.phase not in ("running", "ended"):
        assert not actions
        return
    served = figures.challengers
    signs = {
        name: {
            role: [sign(each) for each in figures.of(name, role)]
            for role in ("primary", "guardrail")
        }
        for name in served
    }
    harmful = {name for name in served if -1 in signs[name]["guardrail"]}
    if figures.phase == "running" and harmful:
        if harmful == set(served):
            assert steps == {("fall_back", "fall_back", None)}
        else:
            assert steps == {("pull", "fall_back", name) for name in harmful}
        return
    if figures.sample_ratio.alarm:
        assert steps == ({("decide", "winner", None)} if figures.final else set())
        return
    winners = {
        name
        for name in served
        if 1 in signs[name]["primary"]
        and -1 not in signs[name]["primary"] + signs[name]["guardrail"]
        and enough(figures, name)
    }
    if winners:
        ((step, power, name),) = steps
        assert (step, power) == ("decide", "winner")
        assert name in winners
        return
    if figures.final:
        assert steps == {("decide", "winner", None)}
        return
    if figures.phase == "ended":
        assert not steps
        return
    losers = {n for n in served if -1 in signs[n]["primary"] and enough(figures, n)}
    futile = {
        name
        for name in served
        if enough(figures, name)
        and all(each.gain and each.worth and each.gain.upper < 0.02
                for each in figures.of(name, "primary"))
    }  # fmt: skip
    if losers | futile == set(served):
        assert steps == {("decide", "winner", None)}
    elif losers:
        assert steps == {("pull", "stop_loser", name) for name in losers}
    elif figures.ramp is not None and figures.ramp.units >= 100:
        assert [(action.step, action.share) for action in actions] == [("ramp", 0.5)]
    else:
        assert not steps


@given(FIGURES)
def test_what_is_found_is_written_as_json_without_a_number_that_is_none(figures):
    for each in [*find_triggers(figures), *choose_actions(figures)]:
        assert each.reason
        assert msgspec.json.decode(msgspec.json.encode(each))["evidence"] == dict(each.evidence)
    keys = [finding.key for finding in find_triggers(figures)]
    assert len(set(keys)) == len(keys)


@given(FIGURES)
def test_direction_belongs_to_the_metric(figures):
    """The same figures of a metric of which less is better, mirrored: the same is done."""
    mirrored = [
        replace(
            each,
            direction=OTHER[each.direction],
            difference=each.difference
            and Bounds(-each.difference.upper, -each.difference.lower, each.difference.level),
        )
        for each in figures.comparisons
    ]
    other = replace(figures, comparisons=tuple(mirrored))
    for one, two in zip(choose_actions(figures), choose_actions(other), strict=True):
        assert (one.step, one.variation_id, one.reason) == (two.step, two.variation_id, two.reason)
    found = [(each.key, each.reason) for each in find_triggers(figures)]
    assert found == [(each.key, each.reason) for each in find_triggers(other)]


def kinds(figures):
    return [finding.kind for finding in find_triggers(figures)]


def test_each_trigger_has_its_condition():
    assert kinds(figures_of(compared())) == []
    assert kinds(figures_of(compared(0.01, 0.1))) == ["significance"]
    assert kinds(figures_of(compared(-0.1, -0.01))) == ["significance"]
    assert kinds(figures_of(compared(-0.1, 0.01, worth=0.02))) == ["futility"]
    assert kinds(figures_of(compared(-0.1, 0.03, worth=0.02))) == []
    assert kinds(figures_of(compared(-0.1, -0.01, role="guardrail"))) == ["guardrail"]
    assert kinds(figures_of(sample_ratio=ALARMS[True])) == ["sample_ratio"]
    assert kinds(figures_of(drifts=(Drift("clicks", 0.1, 0.2),))) == ["drift"]
    collapsed = figures_of(probabilities={"a": 0.995, "b": 0.005})
    assert kinds(collapsed) == ["exploration_collapsed"]
    quiet = figures_of(last_exposure=10**12 - 3_600_000_001)
    assert kinds(quiet) == ["no_data"]
    assert kinds(replace(quiet, phase="ended")) == []
    assert kinds(replace(quiet, last_exposure=10**12 - 3_600_000_000)) == []
    assert kinds(figures_of(final=True, phase="ended")) == ["end_reached"]


def test_news_are_what_did_not_hold_before():
    before = find_triggers(figures_of(compared(0.01, 0.1)))
    both = find_triggers(figures_of(compared(0.01, 0.1), sample_ratio=ALARMS[True]))
    assert [each.kind for each in new_findings(both, {each.key for each in before})] == [
        "sample_ratio"
    ]
    assert new_findings(before, {each.key for each in before}) == []


def test_after_the_end_a_breached_guardrail_still_forbids_a_winner():
    harm = compared(-0.1, -0.01, metric="errors", role="guardrail")
    figures = figures_of(compared(0.01, 0.1), harm, phase="ended", final=True)
    assert [action.variation_id for action in choose_actions(figures)] == [None]
    assert choose_actions(replace(figures, final=False)) == []


def test_a_metric_without_a_cap_never_acts():
    uncapped = compared(0.1, 0.2, may_act=False, worth=1.0)
    assert choose_actions(figures_of(uncapped)) == []
    assert kinds(figures_of(uncapped)) == []


def test_the_reason_of_no_winner_names_the_gate():
    young = figures_of(compared(0.01, 0.1), days=2.0, phase="ended", final=True)
    (action,) = choose_actions(young)
    assert (action.step, action.variation_id) == ("decide", None)
    assert action.reason == "no winner, a stays: it has run 2 days of 7"
    few = figures_of(compared(0.01, 0.1), evidence={"a": Evidence(1_000, 100)})
    assert choose_actions(few) == []
    assert few.missing("b") == "b has 0 closed scores of 100"


def test_of_two_winners_the_one_with_the_greater_lower_bound_is_declared():
    figures = figures_of(compared(0.01, 0.5), compared(0.02, 0.1, variation_id="c"))
    (action,) = choose_actions(figures)
    assert action.variation_id == "c"
    assert action.evidence["lower"] == 0.02
    assert action.evidence["units of c"] == 1_000


def test_bounds_that_have_crossed_say_nothing_and_those_that_are_none_are_refused():
    crossed = Bounds(0.2, 0.1, 0.95)
    assert not crossed.positive
    assert not Bounds(-0.1, -0.2, 0.95).negative
    assert not crossed.below(1.0)
    for ends in ((math.nan, 1.0, 0.95), (0.0, math.nan, 0.95), (0.0, 1.0, 1.0)):
        with pytest.raises(BoundsError):
            Bounds(*ends)
