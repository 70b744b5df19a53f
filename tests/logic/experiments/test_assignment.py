"""Assignment: each fault that other systems had in dividing traffic is made impossible here."""

import re
from collections import Counter
from datetime import timedelta
from fractions import Fraction
from hashlib import blake2b
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2, chi2_contingency

from operators.logic.experiments import hashes, reasons
from operators.logic.experiments.arms import arms_of
from operators.logic.experiments.assigned_column import Requests, StickyAssignment
from operators.logic.experiments.assignment import Assigner
from operators.logic.experiments.errors import ExperimentError
from operators.logic.experiments.hashes import WHOLE, UnitHash
from operators.logic.experiments.layers import bucket_of
from operators.logic.experiments.splits import Split, bandit_split, split_of
from schemas.catalog import Experiment, Variation
from schemas.clock import micros
from schemas.events import Assignment
from schemas.experiments import Condition, Layer, RampStep, Targeting
from tests.support.records import START

SECRET = b"an example of a key"
NOW = micros(START)
DOCUMENT = (Path(__file__).parents[3] / "docs" / "reference" / "assignment.md").read_text()
ALPHA = 1e-4
"""Chance of each statistical test here to fail though all is well; its ids are fixed."""


def experiment(name: str = "t1", weights: Any = (1, 1), **changes: Any) -> Experiment:
    ids = "abcdefgh"[: len(weights)]
    fields: dict[str, Any] = {
        "id": "1",
        "time": START,
        "experiment_id": name,
        "slot_id": "home",
        "state": "running",
        "variations": [
            Variation(id=each, weight=weight) for each, weight in zip(ids, weights, strict=True)
        ],
        "baseline": "a",
    }
    return Experiment(**(fields | changes))


def ramped(share: float) -> list[RampStep]:
    return [RampStep(time=START, share=share)]


def requests(subjects: list[str], **columns: Any) -> Requests:
    count = len(subjects)
    every: dict[str, Any] = {
        "subjects": subjects,
        "decision_ids": [f"d-{name}" for name in subjects],
        "contexts": [{}] * count,
        "keeps_subject": [True] * count,
        "times": [NOW] * count,
    }
    return Requests(**(every | columns))


def assign(subjects: list[str], *experiments: Experiment, **columns: Any) -> list[list[Assignment]]:
    return Assigner(experiments, "home", SECRET).assign(requests(subjects, **columns)).assignments


def only(subjects: list[str], made: Experiment, **columns: Any) -> list[Assignment]:
    return [got for (got,) in assign(subjects, made, **columns)]


def counted(assignments: list[Assignment]) -> Counter[str]:
    return Counter(each.variation_id for each in assignments if not each.not_counted)


def visitors(count: int) -> list[str]:
    return [f"visitor-{number}" for number in range(count)]


def fits(observed: Counter[str], expected: dict[str, float]) -> bool:
    """Pearson's test of a split at ALPHA; an expectation of 0 must be met exactly."""
    total = sum(observed.values())
    assert not {name for name in observed if observed[name] and not expected[name]}
    parts = [(observed[name] - total * p) ** 2 / (total * p) for name, p in expected.items() if p]
    return len(parts) == 1 or sum(parts) < float(chi2.isf(ALPHA, len(parts) - 1))


# Vectors


def by_hand(purpose: bytes, name: str, unit: str) -> int:
    key = blake2b(name.encode(), digest_size=32, key=SECRET, person=purpose).digest()
    return int.from_bytes(blake2b(key + unit.encode(), digest_size=8).digest(), "little")


def test_the_published_vectors_are_the_hashes() -> None:
    table = re.findall(r"^\| `([\w -]+)` \| (`.*?`)? *\| `(.*?)` \| (\d+) \|$", DOCUMENT, re.M)
    assert len(table) == 8
    for purpose, name, unit, said in table:
        assert by_hand(purpose.encode(), name.strip("`"), unit) == int(said), (purpose, name, unit)
        made = UnitHash(SECRET, purpose.encode(), name.strip("`"))
        assert made.of(unit) == int(said), (purpose, name, unit)


@given(
    st.sampled_from([hashes.INCLUSION, hashes.VARIATION, hashes.LAYER, hashes.GLOBAL_HOLDOUT]),
    st.text(),
    st.text(),
)
def test_a_hash_is_that_of_the_document_for_any_text(purpose: bytes, name: str, unit: str) -> None:
    assert UnitHash(SECRET, purpose, name).of(unit) == by_hand(purpose, name, unit)


def test_a_hash_needs_a_secret_and_takes_a_long_one() -> None:
    with pytest.raises(ValueError, match="empty"):
        UnitHash(b"", hashes.LAYER, "x")
    long = b"k" * 65
    short = UnitHash(blake2b(long).digest(), hashes.LAYER, "x")
    assert UnitHash(long, hashes.LAYER, "x").of("u") == short.of("u")


# The split


@pytest.mark.parametrize("share", [0.01, 0.1, 1.0])
def test_the_split_is_that_of_the_weights_at_every_share_of_the_ramp(share: float) -> None:
    """Unleash/unleash-go-sdk#145: inclusion and variation of one hash skew the split."""
    got = only(visitors(round(3_000 / share)), experiment(weights=(3, 2, 1), ramp=ramped(share)))
    observed = counted(got)
    assert fits(observed, {"a": 1 / 2, "b": 1 / 3, "c": 1 / 6})
    included = Counter({"in": sum(observed.values()), "out": len(got) - sum(observed.values())})
    assert fits(included, {"in": share, "out": 1.0 - share})
    assert {each.not_counted for each in got} <= {"", reasons.RAMP}


@pytest.mark.parametrize(("one", "other"), [("t1", "t11"), ("t1", "t2"), ("a", "aa")])
@pytest.mark.parametrize("share", [1.0, 0.3])
def test_two_experiments_divide_independently(one: str, other: str, share: float) -> None:
    """togglz/togglz#104, growthbook/growthbook#959: the same people are first in every roll-out."""
    subjects = [str(number) for number in range(30_000)]
    made = [experiment(name, weights=(1, 2), ramp=ramped(share)) for name in (one, other)]
    pairs = Counter(
        tuple(each.not_counted or each.variation_id for each in got)
        for got in assign(subjects, *made)
    )
    kinds = sorted({kind for pair in pairs for kind in pair})
    table = np.array([[pairs[left, right] for right in kinds] for left in kinds])
    assert chi2_contingency(table).pvalue > ALPHA


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0.0, 1.0), min_size=2, max_size=5))
def test_a_ramp_only_adds_or_removes(shares: list[float]) -> None:
    """growthbook/growthbook-js#22: from 100 to 20 % a subject changed its variation."""
    subjects = visitors(300)
    whole = only(subjects, experiment(weights=(1, 1, 1)))
    before: set[str] | None = None
    last = 0.0
    for share in shares:
        got = only(subjects, experiment(weights=(1, 1, 1), ramp=ramped(share)))
        included = {name for name, each in zip(subjects, got, strict=True) if not each.not_counted}
        for name, each, at_most in zip(subjects, got, whole, strict=True):
            assert each == at_most or each.not_counted == reasons.RAMP, name
            assert each.not_counted == "" or each.variation_id == "a"
        if before is not None:
            assert before <= included if share >= last else included <= before
        before, last = included, share


def test_the_steps_of_a_ramp_hold_from_their_times_on() -> None:
    steps = [RampStep(time=START + timedelta(seconds=at), share=at / 10) for at in (1, 5, 10)]
    subjects = visitors(2000)
    made = experiment(ramp=steps)
    inside = [
        {
            name
            for name, each in zip(
                subjects, only(subjects, made, times=[NOW + at] * 2000), strict=True
            )
            if not each.not_counted
        }
        for at in (0, 999_999, 1_000_000, 4_999_999, 5_000_000, 10_000_000)
    ]
    assert inside[0] == inside[1] == set()
    assert inside[2] == inside[3]
    assert set() < inside[2] < inside[4] < inside[5] == set(subjects)


def test_edits_move_nobody() -> None:
    """Flagsmith/flagsmith#7912: any edit shuffled everybody."""
    subjects = visitors(500)
    made = experiment(weights=(1, 1, 1))
    for edited in (
        experiment(weights=(2, 2, 2), id="99", version=7, source="somebody"),
        experiment(weights=("1/3", "1/3", "1/3"), ends_at=START + timedelta(days=1)),
        experiment(weights=(1.0, 1, 1), state="scheduled", starts_at=START),
        experiment(weights=(1, 1, 1), layer=Layer(layer_id="x")),
    ):
        assert only(subjects, edited) == only(subjects, made)


def test_awkward_weights_are_served_as_they_are_written() -> None:
    """launchdarkly/java-server-sdk#227: rounding served the last variation, which had 0 %."""
    got = only(visitors(200_000), experiment(weights=(98.9, 1, 0.1, 0)))
    assert fits(counted(got), {"a": 0.989, "b": 0.01, "c": 0.001, "d": 0.0})
    assert {each.variation_id: each.probability for each in got} == {
        "a": 0.989, "b": 0.01, "c": 0.001
    }  # fmt: skip


WEIGHTS = st.lists(
    st.one_of(
        st.integers(0, 1000),
        st.floats(0.0, 1000.0).map(lambda value: round(value, 3)),
        st.tuples(st.integers(0, 99), st.integers(1, 99)).map(lambda pair: f"{pair[0]}/{pair[1]}"),
    ),
    min_size=1,
    max_size=8,
)


@given(WEIGHTS, st.integers(0, WHOLE - 1))
def test_a_split_is_exact_and_never_serves_a_weight_of_zero(weights: Any, hash_: int) -> None:
    exact = [Fraction(str(weight)) for weight in weights]
    ids = [str(place) for place in range(len(weights))]
    if not sum(exact):
        with pytest.raises(ExperimentError, match="0"):
            split_of(ids, weights)
        return
    split = split_of(ids, weights)
    ends = [reached * WHOLE / sum(exact) for reached in accumulate(exact)]
    for number in (0, WHOLE - 1, hash_, *(min(end, WHOLE - 1) for end in split.ends)):
        place = split.place(number)
        low = ends[place - 1] if place else 0
        assert int(low) <= number < int(ends[place])
        assert exact[place] > 0
    for weight, probability in zip(exact, split.probabilities(), strict=True):
        assert probability == pytest.approx(float(weight / sum(exact)), rel=1e-9, abs=1e-18)


@pytest.mark.parametrize("weights", [[-1, 2], [float("nan"), 1], [float("inf"), 1], ["x", 1]])
def test_what_is_no_weight_is_refused(weights: Any) -> None:
    with pytest.raises(ExperimentError, match=r"weight|below"):
        split_of(["a", "b"], weights)


def test_thirds_are_thirds() -> None:
    """bucketeer-io/bucketeer#2643: thirds were refused, or became 33.4/33.3/33.3."""
    widths = split_of(["a", "b", "c"], [1, 1, 1]).widths
    assert sum(widths) == WHOLE
    assert max(widths) - min(widths) <= 1
    assert split_of(["a", "b", "c"], ["1/3"] * 3).ends == split_of(["a", "b", "c"], [7] * 3).ends


def test_any_unicode_id_is_divided_like_others() -> None:
    """pid/murmurHash3js#3: another bucket per language for an emoji."""
    subjects = [f"吉 星 🎲 {number}" for number in range(20_000)]
    assert fits(counted(only(subjects, experiment())), {"a": 0.5, "b": 0.5})


# Layers and the hold-out


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(1, 10)), min_size=2, max_size=4),
    st.sampled_from(["x", "x", "y"]),
)
def test_experiments_of_a_layer_never_have_a_unit_in_common(
    ranges: list[tuple[int, int]], layer: str
) -> None:
    """mozilla/experimenter#6529; also where the check of the catalog was passed by."""
    subjects = visitors(400)
    made = [
        experiment(
            f"t{number}",
            layer=Layer(layer_id=layer, start=1000 * low, stop=1000 * min(low + width, 10)),
            slot_id="home" if number % 2 else "side",
        )
        for number, (low, width) in enumerate(ranges)
    ]
    inside: list[set[str]] = []
    for slot in ("home", "side"):
        got = Assigner(made, slot, SECRET).assign(requests(subjects)).assignments
        for name in {each.experiment_id for row in got for each in row}:
            inside += [
                {
                    subject
                    for subject, row in zip(subjects, got, strict=True)
                    for each in row
                    if each.experiment_id == name and not each.not_counted
                }
            ]
    assert sum(map(len, inside)) == len(set().union(*inside))
    asked = {
        subject
        for subject in subjects
        for low, width in ranges
        if 1000 * low
        <= bucket_of(UnitHash(SECRET, hashes.LAYER, layer).of(subject))
        < 1000 * (low + width)
    }
    assert set().union(*inside) == asked


def test_what_a_stopped_experiment_had_of_a_layer_is_free() -> None:
    subjects = visitors(200)
    whole = Layer(layer_id="x")
    first, second = experiment("t1", layer=whole), experiment("t2", layer=whole)
    assert not any(row[1].not_counted == "" for row in assign(subjects, first, second))
    stopped = experiment("t1", layer=whole, state="stopped")
    rows = assign(subjects, stopped, second)
    assert {row[1].not_counted for row in rows} == {""}
    assert {(row[0].variation_id, row[0].not_counted) for row in rows} == {("a", "stopped")}


def test_the_global_holdout_is_of_subjects_and_of_all_experiments() -> None:
    subjects = visitors(20_000)
    made = [experiment("t1"), experiment("t2", unit="decision")]
    got = Assigner(made, "home", SECRET, 0.05).assign(requests(subjects)).assignments
    held = [row for row in got if row[0].not_counted == reasons.GLOBAL_HOLDOUT]
    assert fits(Counter(i=len(held), o=len(got) - len(held)), {"i": 0.05, "o": 0.95})
    for row in got:
        assert {each.not_counted for each in row} == {row[0].not_counted}
    assert {each.variation_id for row in held for each in row} == {"a"}
    rest = [row[0] for row in got if not row[0].not_counted]
    assert fits(counted(rest), {"a": 0.5, "b": 0.5})
    more = Assigner(made, "home", SECRET, 0.1).assign(requests(subjects)).assignments
    for before, after in zip(got, more, strict=True):
        assert before == after or after[0].not_counted == reasons.GLOBAL_HOLDOUT


# Who counts


def test_decisions_are_drawn_by_their_own_ids() -> None:
    count = 20_000
    got = only(
        ["ann"] * count,
        experiment(unit="decision"),
        decision_ids=[f"d-{number}" for number in range(count)],
        keeps_subject=[False] * count,
    )
    assert fits(counted(got), {"a": 0.5, "b": 0.5})
    assert {each.unit for each in got} == {"decision"}


@pytest.mark.parametrize("mode", ["fixed", "bandit"])
def test_who_must_not_be_kept_gets_the_baseline_and_does_not_count(mode: str) -> None:
    got = only(visitors(50), experiment(mode=mode), keeps_subject=[False] * 50)
    assert {(each.variation_id, each.not_counted) for each in got} == {("a", reasons.CONSENT)}


def test_robots_are_left_out_before_anything_is_assigned() -> None:
    got = only(visitors(50), experiment(), robots=[True] * 50)
    assert {(each.variation_id, each.not_counted) for each in got} == {("a", reasons.ROBOT)}


@pytest.mark.parametrize(
    ("changes", "shown", "reason"),
    [
        ({"state": "paused"}, "a", "paused"),
        ({"enabled": False}, "a", "paused"),
        ({"state": "stopped"}, "a", "stopped"),
        ({"ends_at": START}, "a", "ended"),
        ({"state": "decided"}, "a", "decided"),
        ({"state": "decided", "winner": "b"}, "b", "decided"),
    ],
)
def test_what_does_not_run_shows_the_baseline_or_the_winner_at_once(
    changes: Any, shown: str, reason: str
) -> None:
    got = only(visitors(50), experiment(**changes))
    assert {(each.variation_id, each.not_counted) for each in got} == {(shown, reason)}


@pytest.mark.parametrize(
    "changes",
    [
        {"state": "draft"},
        {"state": "scheduled", "starts_at": START + timedelta(seconds=1)},
        {"time": START + timedelta(seconds=1)},
        {"deleted": True},
        {"slot_id": "side"},
        {"variations": {"a": 0.5}},
        {"targeting": Targeting(all_of=[Condition(field="device", values=["phone"])])},
    ],
)
def test_what_has_not_begun_or_is_about_others_changes_nothing(changes: Any) -> None:
    assert assign(visitors(20), experiment(**changes)) == [[]] * 20


def test_it_runs_by_event_time() -> None:
    made = experiment(
        state="scheduled",
        starts_at=START + timedelta(seconds=1),
        ends_at=START + timedelta(seconds=2),
    )
    times = [NOW + at for at in (0, 999_999, 1_000_000, 1_999_999, 2_000_000)]
    got = assign(["ann"] * 5, made, times=times)
    assert [[each.not_counted for each in row] for row in got] == [[], [], [""], [""], ["ended"]]


def test_who_had_a_pulled_variation_gets_the_baseline_and_enters_no_score() -> None:
    """adobe/aem-experimentation#32: a variation set to 0 % was still served."""
    subjects = visitors(6000)
    made = experiment(weights=(1, 1, 2))
    pulled = experiment(
        variations=[
            Variation(id="a"), Variation(id="b", enabled=False), Variation(id="c", weight=2)
        ]
    )  # fmt: skip
    before, after = only(subjects, made), only(subjects, pulled)
    for had, has in zip(before, after, strict=True):
        if had.variation_id == "b":
            assert (has.variation_id, has.not_counted) == ("a", reasons.PULLED)
        else:
            assert (has.variation_id, has.not_counted) == (had.variation_id, "")
            assert has.probability == pytest.approx({"a": 1 / 3, "c": 2 / 3}[has.variation_id])
    assert fits(counted(after), {"a": 1 / 3, "c": 2 / 3})


def test_a_forced_variation_wins_and_is_marked() -> None:
    """optimizely/javascript-sdk#247: it was ignored inside a layer, or counted as random."""
    subjects = visitors(30)
    forced = [{"t1": "b"}] * 30
    for changes in (
        {},
        {"state": "draft"},
        {"layer": Layer(layer_id="x", start=0, stop=1)},
        {"ramp": ramped(0.0)},
        {"targeting": Targeting(all_of=[Condition(field="device", values=["phone"])])},
    ):
        got = only(subjects, experiment(**changes), forced=forced)
        assert {(each.variation_id, each.not_counted) for each in got} == {("b", "forced")}
    gone = only(["ann"], experiment(), forced=[{"t1": "nowhere"}])
    assert (gone[0].variation_id, gone[0].not_counted) == ("a", "forced")


def test_an_apprentice_shows_the_baseline_to_everybody_and_counts() -> None:
    got = only(visitors(50), experiment(mode="apprentice"))
    assert {(each.variation_id, each.probability, each.not_counted) for each in got} == {
        ("a", 1.0, "")
    }


# Bandit splits


def test_a_bandit_by_subject_keeps_what_was_drawn_first() -> None:
    """growthbook/growthbook-kotlin#210: a decision before the kept state took another arm."""
    subjects = visitors(5000)
    made = experiment(mode="bandit")
    assigner = Assigner([made], "home", SECRET)
    early = assigner.assign(requests(subjects))
    assert {row[0].not_counted for row in early.assignments} == {reasons.NOT_LOADED}
    assert {row[0].variation_id for row in early.assignments} == {"a"}
    assert early.first_assignments == []
    first = bandit_split(["a", "b"], [0.2, 0.8], 0.1)
    new = assigner.assign(requests(subjects, sticky=[{}] * 5000), {"t1": first})
    assert len(new.first_assignments) == 5000
    assert fits(counted([row[0] for row in new.assignments]), {"a": 0.26, "b": 0.74})
    kept = [{each.experiment_id: each.assignment} for each in new.first_assignments]
    moved = bandit_split(["a", "b"], [1.0, 0.0], 0.1)
    again = assigner.assign(requests(subjects, sticky=kept), {"t1": moved})
    assert again.assignments == new.assignments
    assert again.first_assignments == []
    assert {row[0].probability for row in again.assignments} == {0.26, 0.74}


def test_a_kept_variation_that_is_pulled_or_gone_is_the_baseline() -> None:
    made = experiment(
        mode="bandit", variations=[Variation(id="a"), Variation(id="b", enabled=False)]
    )
    kept = [{"t1": StickyAssignment("b", 0.5)}, {"t1": StickyAssignment("z", 0.5)}]
    got = only(["ann", "bob"], made, sticky=kept)
    assert {(each.variation_id, each.not_counted) for each in got} == {("a", reasons.PULLED)}


def test_a_bandit_by_decision_draws_by_the_split_of_its_moment() -> None:
    made = experiment(mode="bandit", unit="decision")
    split = bandit_split(["a", "b"], [0.0, 1.0], 0.1)
    got = Assigner([made], "home", SECRET).assign(requests(visitors(5000)), {"t1": split})
    drawn = [row[0] for row in got.assignments]
    assert fits(counted(drawn), {"a": 0.1, "b": 0.9})
    assert got.first_assignments == []
    with pytest.raises(ExperimentError, match="t1"):
        arms_of(made, Split(("x", "y"), (WHOLE // 2, WHOLE)))


@given(
    st.lists(st.floats(0.0, 1.0), min_size=1, max_size=6).filter(lambda p: sum(p) > 1e-6),
    st.floats(0.0, 0.5),
)
def test_the_floor_of_a_bandit_is_mixed_in(p: list[float], floor: float) -> None:
    """growthbook/growthbook#6145: clipping and scaling shrank arms above the floor, too."""
    count = len(p)
    got = bandit_split([str(place) for place in range(count)], p, floor).probabilities()
    for share, probability in zip(p, got, strict=True):
        mixed = floor + (1 - count * floor) * share / sum(p) if count * floor < 1 else 1 / count
        assert probability == pytest.approx(mixed, abs=1e-12)
