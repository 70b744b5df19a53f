"""The life of an experiment, against a small model of which step may follow which."""

from datetime import timedelta
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from operators.logic.catalog import CatalogHistory
from operators.logic.catalog_limits import take_in
from operators.logic.experiments import lifecycle
from operators.logic.experiments.assignment import Assigner
from operators.logic.experiments.errors import ExperimentError
from operators.logic.experiments.lifecycle import By
from operators.logic.experiments.phases import phase_at
from schemas.catalog import Experiment, Variation
from schemas.clock import micros
from schemas.experiments import AutomaticActions, Proposal, RampStep
from tests.logic.experiments.test_assignment import SECRET, experiment, requests, visitors
from tests.support import records as make

ANN = By("ann", "because", {"uplift": 0.1})
SECOND = timedelta(seconds=1)


def made(**changes: Any) -> Experiment:
    fields: dict[str, Any] = {
        "variations": [Variation(id=name) for name in "abc"],
        "starts_at": make.START + 10 * SECOND,
        "ends_at": make.START + 30 * SECOND,
    }
    return lifecycle.create(experiment(**(fields | changes)), ANN, make.START)


# The model: (state, second) -> the states that a step leads to, None where it cannot be taken.

STEPS: dict[str, dict[str, str]] = {
    "schedule": {"draft": "scheduled"},
    "start": {"draft": "running", "scheduled": "running"},
    "pause": {"running": "paused"},
    "resume": {"paused": "running"},
    "stop": dict.fromkeys(("scheduled", "running", "paused", "ended"), "stopped"),
    "fall_back": {"running": "stopped"},
    "decide": {"running": "decided", "ended": "decided"},
    "ramp": {"running": "same"},
    "pull": {"running": "same"},
    "edit": dict.fromkeys(("draft", "scheduled", "running", "paused", "ended"), "same"),
}


class Modelled(NamedTuple):
    state: str
    version: int
    share: float
    pulled: bool

    def phase(self, second: int) -> str:
        state = "running" if self.state == "scheduled" and second >= 10 else self.state
        return "ended" if state == "running" and second >= 30 else state


def take(step: str, record: Experiment, share: float, at: Any) -> Experiment:
    match step:
        case "ramp":
            return lifecycle.ramp(record, share, ANN, at)
        case "pull":
            return lifecycle.pull(record, "c", ANN, at)
        case "decide":
            return lifecycle.decide(record, None if share < 0.5 else "b", ANN, at)
        case "edit":
            return lifecycle.edit(
                record, replace(record, source=f"{share}", state="draft"), ANN, at
            )
        case _:
            return getattr(lifecycle, step)(record, ANN, at)  # type: ignore[no-any-return]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(STEPS)), st.integers(1, 8), st.sampled_from([0.1, 0.6])),
        max_size=12,
    )
)
def test_any_life_is_that_of_the_model(steps: list[tuple[str, int, float]]) -> None:
    record, second = made(), 0
    model = Modelled("draft", 1, 1.0, pulled=False)
    history = CatalogHistory()
    assert take_in(history, [make.slot("home"), record]) == []
    for step, passes, share in steps:
        second += passes
        at = make.START + second * SECOND
        goal = STEPS[step].get(model.phase(second))
        if goal is None or (step == "pull" and model.pulled):
            with pytest.raises(ExperimentError):
                take(step, record, share, at)
            continue
        before, record = record, take(step, record, share, at)
        model = Modelled(
            state=model.state if goal == "same" else goal,
            version=model.version + 1,
            share=share if step == "ramp" else model.share,
            pulled=model.pulled or step == "pull",
        )
        assert record.change is not None
        assert (record.change.step, record.change.author) == (step, "ann")
        assert (record.change.reason, record.change.evidence) == ("because", {"uplift": 0.1})
        assert (record.state, record.version, record.time) == (model.state, model.version, at)
        assert phase_at(record, micros(at)) == model.phase(second)
        assert record.variations[2].enabled is not model.pulled  # type: ignore[union-attr]
        assert record.ramp[-1].share == model.share if record.ramp else model.share == 1.0
        assert (record.winner == "b") is (step == "decide" and share >= 0.5)
        changed = {
            name
            for name in record.__struct_fields__
            if getattr(before, name) != getattr(record, name)
        }
        own = {"ramp": "ramp", "pull": "variations", "decide": "winner", "edit": "source"}
        assert changed <= {"id", "time", "version", "change", "state", own.get(step, "state")}
        assert take_in(history, [record]) == []
        counted = _counts(record, at)
        assert counted == (model.phase(second) == "running")
    assert history.as_of(2**61).experiments["t1"] == record


def _counts(record: Experiment, at: Any) -> bool:
    """Whether anybody is exposed: after the end nobody is."""
    times = [micros(at)] * 60
    got = Assigner([record], "home", SECRET).assign(requests(visitors(60), times=times))
    return any(not each.not_counted for row in got.assignments for each in row)


def test_starting_leaves_the_share_as_it_is() -> None:
    """PostHog/posthog#14817: pressing start set a share of 20 % to 100 %."""
    draft = made(ramp=[RampStep(time=make.START, share=0.2)])
    started = lifecycle.start(draft, ANN, make.START + SECOND)
    assert started.ramp == draft.ramp


def test_a_ramp_without_a_plan_begins_with_everybody() -> None:
    started = lifecycle.start(made(), ANN, make.START + SECOND)
    half = lifecycle.ramp(started, 0.5, ANN, make.START + 5 * SECOND)
    assert [step.share for step in half.ramp] == [1.0, 0.5]
    planned = replace(half, ramp=[*half.ramp, RampStep(time=make.START + 20 * SECOND, share=1.0)])
    less = lifecycle.ramp(planned, 0.1, ANN, make.START + 9 * SECOND)
    assert [step.share for step in less.ramp] == [1.0, 0.5, 0.1]


def test_a_verdict_without_a_winner_ends_it_and_the_baseline_stays() -> None:
    """launchdarkly/ai-tooling#71, dotCMS/core#24831: stopping demanded a winner, and went on."""
    running = lifecycle.start(made(), ANN, make.START + SECOND)
    for winner, shown in ((None, "a"), ("b", "b")):
        decided = lifecycle.decide(running, winner, ANN, make.START + 2 * SECOND)
        times = [micros(make.START) + 3_000_000] * 20
        got = Assigner([decided], "home", SECRET).assign(requests(visitors(20), times=times))
        rows = {(each.variation_id, each.not_counted) for row in got.assignments for each in row}
        assert rows == {(shown, "decided")}
    with pytest.raises(ExperimentError, match="winner"):
        lifecycle.decide(running, "z", ANN, make.START + 2 * SECOND)


def test_what_may_act_by_itself_does_and_the_rest_waits_for_approval() -> None:
    running = lifecycle.start(
        made(automatic=AutomaticActions(winner="propose", stop_loser="auto")),
        ANN,
        make.START + SECOND,
    )
    at = make.START + 2 * SECOND
    loser = Proposal(step="pull", author="rule", reason="worse", variation_id="c")
    pulled = lifecycle.act(running, loser, at)
    assert pulled.change is not None
    assert (pulled.change.step, pulled.change.author, pulled.proposal) == ("pull", "rule", None)
    harm = Proposal(step="fall_back", author="rule", reason="harm", evidence={"upper": -0.02})
    assert lifecycle.act(running, harm, at).state == "stopped"
    best = Proposal(
        step="decide", author="rule", reason="better", variation_id="b", evidence={"lower": 0.01}
    )
    waiting = lifecycle.act(running, best, at)
    assert (waiting.state, waiting.proposal) == ("running", best)
    approved = lifecycle.approve(waiting, By("ann", "agreed"), at + SECOND)
    assert (approved.state, approved.winner, approved.proposal) == ("decided", "b", None)
    assert approved.change is not None
    assert (approved.change.step, approved.change.author) == ("decide", "ann")
    assert approved.change.evidence["proposal"] == {
        "author": "rule", "reason": "better", "lower": 0.01
    }  # fmt: skip
    rejected = lifecycle.reject(waiting, ANN, at + SECOND)
    assert (rejected.state, rejected.proposal) == ("running", None)
    for record in (running, rejected):
        with pytest.raises(ExperimentError, match="proposal"):
            lifecycle.approve(record, ANN, at + 2 * SECOND)


@pytest.mark.parametrize("step", ["decide", "pull", "ramp", "fall_back", "stop"])
def test_nothing_acts_on_what_does_not_run(step: Any) -> None:
    running = lifecycle.start(
        made(automatic=AutomaticActions(winner="auto", ramp="auto", stop_loser="auto")),
        ANN,
        make.START + SECOND,
    )
    paused = lifecycle.pause(running, ANN, make.START + 2 * SECOND)
    action = Proposal(step=step, author="rule", reason="", variation_id="b", share=0.5)
    if step != "stop":  # anybody may stop what is paused
        with pytest.raises(ExperimentError, match="paused"):
            lifecycle.act(paused, action, make.START + 3 * SECOND)
    waiting = lifecycle.propose(running, action, make.START + 2 * SECOND)
    stopped = lifecycle.stop(waiting, ANN, make.START + 3 * SECOND)
    with pytest.raises(ExperimentError):
        lifecycle.act(stopped, action, make.START + 4 * SECOND)


def test_an_undo_gives_back_the_record_before() -> None:
    draft = made()
    running = lifecycle.start(draft, ANN, make.START + SECOND)
    decided = lifecycle.decide(running, "b", ANN, make.START + 2 * SECOND)
    back = lifecycle.undo(decided, running, ANN, make.START + 3 * SECOND)
    assert back == replace(
        running, id=back.id, time=back.time, version=decided.version + 1, change=back.change
    )
    assert back.change is not None
    assert back.change.step == "undo"
    history = CatalogHistory()
    assert take_in(history, [draft, running, decided, back]) == []
    again = lifecycle.undo(back, decided, ANN, make.START + 4 * SECOND)
    assert (again.state, again.winner) == ("decided", "b")
    with pytest.raises(ExperimentError, match="draft"):
        lifecycle.undo(running, draft, ANN, make.START + 3 * SECOND)
    with pytest.raises(ExperimentError, match="undo"):
        lifecycle.undo(running, decided, ANN, make.START + 3 * SECOND)


def test_steps_follow_in_time_and_two_of_one_moment_have_one_id() -> None:
    running = lifecycle.start(made(), ANN, make.START + SECOND)
    with pytest.raises(ExperimentError, match="time"):
        lifecycle.stop(running, ANN, make.START + SECOND)
    at = make.START + 2 * SECOND
    one, other = lifecycle.pause(running, ANN, at), lifecycle.stop(running, ANN, at)
    history = CatalogHistory()
    left_out = take_in(history, [running, one, other])
    assert [each.flaw.reason for each in left_out] == ["conflicting_version"]


def test_a_change_of_a_running_split_is_refused_with_its_field() -> None:
    running = lifecycle.start(made(), ANN, make.START + SECOND)
    more = replace(running, variations=[Variation(id=name) for name in "abcd"])
    with pytest.raises(ExperimentError, match="variations"):
        lifecycle.edit(running, more, ANN, make.START + 2 * SECOND)
