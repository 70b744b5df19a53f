"""What assignments leave of what is eligible, and the mixture that is logged, by enumeration."""

from collections import Counter
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from scipy.stats import chi2

from operators.logic.deciding.selection import Candidates, Selection, select
from operators.logic.deciding.variations import MOST_SCENARIOS, Serving, divide, mixed
from operators.logic.experiments import reasons
from operators.logic.experiments.arms import Arms, arms_of
from operators.logic.slot_policy import new_policy
from schemas.catalog import Holdout, PolicySettings, Slot, Variation
from tests.logic.experiments.test_assignment import experiment
from tests.support import records as make

NAMES = tuple("uvwxyz")
SETS = st.none() | st.lists(st.sampled_from(NAMES), min_size=1, max_size=5, unique=True)


@st.composite
def arms(draw: st.DrawFn) -> list[Arms]:
    made = []
    for number in range(draw(st.integers(1, 3))):
        count = draw(st.integers(2, 3))
        variations = [
            Variation(
                id="abc"[place],
                weight=draw(st.integers(1, 3)),
                actions=draw(SETS),
                enabled=place == 0 or draw(st.integers(0, 3)) > 0,
            )
            for place in range(count)
        ]
        unit = draw(st.sampled_from(["decision", "decision", "subject"]))
        made.append(arms_of(experiment(f"t{number}", variations=variations, unit=unit)))
    return made


def shown(arm: Arms, name: str, within: tuple[str, ...]) -> tuple[str, ...]:
    (found,) = [each for each in arm.experiment.variations if each.id == name]  # type: ignore[union-attr]
    return within if found.actions is None else tuple(n for n in within if n in found.actions)


def by_enumeration(
    names: tuple[str, ...], made: list[Arms], got: list[Any]
) -> tuple[list[str], dict[tuple[str, ...], float], tuple[str, ...]]:
    """Why each does not count, what could have been eligible and how likely, and what is."""
    marks: list[str] = []
    counted: list[int] = []
    for place, (arm, each) in enumerate(zip(made, got, strict=True)):
        if each.not_counted:
            marks.append(each.not_counted)
            continue
        live = [one for one in arm.drawable if not one.not_counted]
        reachable = [names]
        for before in counted:
            options = made[before].drawable
            if made[before].experiment.unit == "subject":
                options = (got[before],)
            reachable = [
                shown(made[before], one.variation_id, within)
                for within in reachable
                for one in options
                if not one.not_counted
            ]
        narrows = any(v.actions is not None for v in arm.experiment.variations)  # type: ignore[union-attr]
        if narrows and not all(
            shown(arm, one.variation_id, within) for within in reachable for one in live
        ):
            marks.append(reasons.NOT_ELIGIBLE)
        else:
            marks.append("")
            counted.append(place)
    options = [
        [one for one in made[place].drawable if not one.not_counted]
        if made[place].experiment.unit == "decision"
        else [replace(got[place], probability=1.0)]
        for place in counted
    ]
    rest = [
        (made[place], "a")
        for place, mark in enumerate(marks)
        if mark and any(v.actions is not None for v in made[place].experiment.variations)  # type: ignore[union-attr]
    ]

    def settled(drawn: Any) -> tuple[str, ...]:
        within = names
        for place, one in zip(counted, drawn, strict=True):
            within = shown(made[place], one.variation_id, within)
        for arm, name in rest:
            within = shown(arm, name, within) or within
        return within

    mass: dict[tuple[str, ...], float] = {}
    for drawn in product(*options):
        within = settled(drawn)
        mass[within] = mass.get(within, 0.0) + float(np.prod([one.probability for one in drawn]))
    return marks, mass, settled([got[place] for place in counted])


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(NAMES), min_size=1, unique=True), arms(), st.data())
def test_what_is_left_is_that_of_an_enumeration(
    names: list[str], made: list[Arms], data: st.DataObject
) -> None:
    got = [data.draw(st.sampled_from([*arm.drawable, arm.left_out(reasons.RAMP)])) for arm in made]
    divided = divide(names, got, [Serving(arm) for arm in made])
    marks, mass, own = by_enumeration(tuple(names), made, got)
    assert [each.not_counted for each in divided.assignments] == marks
    assert divided.scenarios[0].names == own
    if len(divided.scenarios) == 1 and len(mass) > 1:
        many = np.prod([len(arm.drawable) for arm in made])
        assert many > MOST_SCENARIOS
        return
    joined: dict[tuple[str, ...], float] = {}
    for p, within in divided.scenarios:
        assert within
        joined[within] = joined.get(within, 0.0) + p
    assert joined == pytest.approx(mass)


def test_who_does_not_count_does_not_depend_on_the_variation() -> None:
    """Else the arms that can be served less often would have other units than the rest."""
    variations = [Variation(id="a", actions=["u"]), Variation(id="b", actions=["v"])]
    arm = arms_of(experiment(variations=variations))
    for eligible, reason in ((["u", "w"], reasons.NOT_ELIGIBLE), (["u", "v", "w"], "")):
        for got in arm.drawable:
            (left,) = divide(eligible, [got], [Serving(arm)]).assignments
            assert left.not_counted == reason
            assert left.variation_id == ("a" if reason else got.variation_id)


def test_a_baseline_that_cannot_be_shown_leaves_what_there_is() -> None:
    arm = arms_of(experiment(variations=[Variation(id="a", actions=["u"]), Variation(id="b")]))
    divided = divide(["w"], [arm.left_out(reasons.PAUSED)], [Serving(arm)])
    assert divided.scenarios == [(1.0, ("w",))]


def test_a_kept_variation_that_has_no_share_any_more_is_still_shown() -> None:
    variations = [Variation(id="a"), Variation(id="b", weight=0, actions=["v"])]
    arm = arms_of(experiment(variations=variations, mode="bandit"))
    for names, left in ((["u", "v"], ("v",)), (["u"], ("u",))):
        divided = divide(names, [arm.again("b", 0.5)], [Serving(arm)])
        assert divided.scenarios == [(1.0, left)]


SLOT = Slot(id="1", time=make.START, slot_id="home", policy=PolicySettings(kind="uniform"))
COUNT = 40_000


def selected(slot: Slot, eligible: list[str], count: int = COUNT) -> Selection:
    posterior = new_policy(slot, (), 1).publish()
    candidates = Candidates(
        np.ones((count, 1)),
        NAMES,
        [eligible] * count,
        ["ann"] * count,
        [f"d-{number}" for number in range(count)],
    )
    return select(slot, posterior, candidates, b"secret")


@pytest.mark.parametrize("holdout", [Holdout(), Holdout(share=0.3)])
def test_decisions_are_shown_as_often_as_the_logged_mixture_says(holdout: Holdout) -> None:
    """Pearson's test at 1e-4, ids fixed: the probability is over the variation, too."""
    slot = replace(SLOT, holdout=holdout)
    variations = [
        Variation(id="a", actions=["u", "v"]),
        Variation(id="b", weight=2, actions=["v", "w", "x"]),
        Variation(id="c"),
    ]
    arm = arms_of(experiment(variations=variations, unit="decision"))
    shown_actions: Counter[str] = Counter()
    expected = {"u": (1 / 2 + 1 / 6) / 4, "v": (1 / 2 + 2 / 3 + 1 / 6) / 4}
    expected |= {"w": (2 / 3 + 1 / 6) / 4, "x": (2 / 3 + 1 / 6) / 4, "y": 1 / 24, "z": 1 / 24}
    for place, share in enumerate((1, 2, 1)):
        divided = divide(NAMES, [arm.drawable[place]], [Serving(arm)])
        count = COUNT * share // 4
        selections = [selected(slot, list(each.names), count) for each in divided.scenarios]
        weights = [[each.probability for each in divided.scenarios]] * count
        got = mixed(selections, weights)
        assert got.logged.sum(axis=1) == pytest.approx(np.ones(count))
        logged = dict(zip(got.action_ids, got.logged[0], strict=True))
        assert logged == pytest.approx(expected)
        assert got.propensity == pytest.approx(
            [expected[got.action_ids[column]] for column in got.chosen]
        )
        own = divided.scenarios[0].names
        assert {got.action_ids[column] for column in got.chosen} <= set(own)
        shown_actions.update(got.action_ids[column] for column in got.chosen)
    parts = [(shown_actions[n] - COUNT * p) ** 2 / (COUNT * p) for n, p in expected.items()]
    assert sum(parts) < float(chi2.isf(1e-4, len(parts) - 1))
