"""What assignments make of a request's eligible actions, and of the probability that is logged.

A variation that is actions narrows what may be shown. Where a subject is assigned for the whole
run, the logged probability is that given its variation, as of a hold-out by subject. Where each
decision is assigned, it is the mixture over what could have been assigned, so that the log knows
how likely an action was whatever the variation.
"""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np

from operators.logic.deciding.selection import Mask, Selection
from operators.logic.experiments import reasons
from operators.logic.experiments.arms import Arms, variations_of
from schemas.events import Assignment

MOST_SCENARIOS: Final = 16
"""Different sets of actions over which the logged probability is a mixture; with more of them it is
that given the variations that were drawn."""


class Scenario(NamedTuple):
    """Actions that a request could have had to choose from, and how likely that was."""

    probability: float
    names: tuple[str, ...]


class Divided(NamedTuple):
    """A request's assignments, and the scenarios of its choice: that which was drawn is the first.

    Probabilities sum to 1.
    """

    assignments: list[Assignment]
    scenarios: list[Scenario]


class _Option(NamedTuple):
    probability: float
    actions: frozenset[str] | None


class Serving:
    """What the variations of an experiment may show, by their ids; None: whatever the slot may."""

    def __init__(self, arms: Arms) -> None:
        self.arms = arms
        self.by_decision = arms.experiment.unit == "decision"
        self.actions = {
            each.id: None if each.actions is None else frozenset(each.actions)
            for each in variations_of(arms.experiment)
        }
        self.options = {
            each.variation_id: _Option(each.probability, self.actions[each.variation_id])
            for each in arms.drawable
            if not each.not_counted and each.probability > 0.0
        }
        self.narrows = any(each is not None for each in self.actions.values())


def divide(
    names: Sequence[str],
    assignments: Sequence[Assignment],
    serving: Sequence[Serving],
    *,
    mixes: bool = True,
) -> Divided:
    """Narrow what a request may be shown by its assignments.

    One that counts does so only where each variation could be served, whatever the others are; so
    who is left out does not depend on what they would have got. Then the baselines and winners of
    what does not count are shown where they leave anything.

    Parameters
    ----------
    names
        What is eligible, at least one.
    assignments, serving
        Of the same experiments, in the same order.
    mixes
        Whether decisions' variations are mixed; else the drawn one is the only scenario.

    Examples
    --------
    >>> from operators.logic.experiments.arms import arms_of
    >>> from schemas.catalog import Experiment, Variation
    >>> from schemas.clock import EPOCH
    >>> colours = Experiment(
    ...     id="1",
    ...     time=EPOCH,
    ...     experiment_id="colours",
    ...     slot_id="home",
    ...     unit="decision",
    ...     variations=[Variation(id="r", actions=["red"]), Variation(id="b", actions=["blue"])],
    ...     baseline="r",
    ... )
    >>> arms = arms_of(colours)
    >>> divided = divide(["blue", "red"], [arms.drawable[1]], [Serving(arms)])
    >>> [(each.probability, each.names) for each in divided.scenarios]
    [(0.5, ('blue',)), (0.5, ('red',))]
    """
    scenarios = [Scenario(1.0, tuple(names))]
    result: list[Assignment] = []
    for assignment, each in zip(assignments, serving, strict=True):
        if assignment.not_counted or not each.narrows:
            result.append(assignment)
        elif not _can_serve(each, scenarios):
            result.append(each.arms.left_out(reasons.NOT_ELIGIBLE))
        else:
            result.append(assignment)
            scenarios = _narrowed(scenarios, assignment, each, mixes)
    for assignment, each in zip(result, serving, strict=True):
        if assignment.not_counted and each.narrows:
            shown = each.actions[assignment.variation_id]
            scenarios = [Scenario(p, _within(names, shown) or names) for p, names in scenarios]
    return Divided(result, scenarios)


def _can_serve(serving: Serving, scenarios: Sequence[Scenario]) -> bool:
    return all(
        option.actions is None or not option.actions.isdisjoint(names)
        for _, names in scenarios
        for option in serving.options.values()
    )


def _narrowed(
    scenarios: Sequence[Scenario], assignment: Assignment, serving: Serving, mixes: bool
) -> list[Scenario]:
    """Give the scenarios of each variation that could have been drawn, the drawn one first."""
    if mixes and serving.by_decision:
        drawn = serving.options[assignment.variation_id]
        others = [each for each in serving.options.values() if each is not drawn]
        made = list(_crossed(scenarios, [drawn, *others]))
        if len(made) <= MOST_SCENARIOS:
            return made
    shown = serving.actions[assignment.variation_id]  # a kept one may have no share any more
    return [Scenario(p, _within(names, shown) or names) for p, names in scenarios]


def _crossed(scenarios: Sequence[Scenario], options: Sequence[_Option]) -> Iterator[Scenario]:
    """Join what each option makes of each scenario; what has the same actions is one."""
    mass: dict[tuple[str, ...], float] = {}
    for p, names in scenarios:
        for probability, actions in options:
            within = _within(names, actions)
            mass[within] = mass.get(within, 0.0) + p * probability
    for within, total in mass.items():
        yield Scenario(total, within)


def _within(names: tuple[str, ...], actions: frozenset[str] | None) -> tuple[str, ...]:
    return names if actions is None else tuple(name for name in names if name in actions)


def mixed(selections: Sequence[Selection], weights: Sequence[Sequence[float]]) -> Selection:
    """Join the selections that n requests would have had in each scenario: the first was drawn.

    What is logged is the mixture of the scenarios' vectors, over all actions of any of them. A
    request without so many scenarios has the weight 0 for the others.

    Parameters
    ----------
    selections
        K of them, of one action each.
    weights
        n rows of K.
    """
    first = selections[0]
    ids = tuple(sorted({name for each in selections for name in each.action_ids}))
    column = {name: place for place, name in enumerate(ids)}
    shape = len(first.chosen), len(ids)
    logged, eta, mask = np.zeros(shape), np.zeros(shape), np.zeros(shape, dtype=bool)
    by_scenario = np.asarray(weights, dtype=np.float64)
    for place in range(len(selections) - 1, -1, -1):
        each = selections[place]
        columns = np.array([column[name] for name in each.action_ids], dtype=np.intp)
        weight = by_scenario[:, place : place + 1]
        places = np.ix_(np.arange(shape[0]), columns)
        logged[places] += weight * each.logged
        of_each = np.ones(each.logged.shape, dtype=bool) if each.mask is None else each.mask
        mask[places] |= of_each & (weight > 0.0)
        eta[places] = np.where(of_each, each.eta, eta[places])
    own = np.array([column[name] for name in first.action_ids], dtype=np.intp)
    chosen = own[first.chosen]
    propensity = logged[np.arange(shape[0]), chosen]
    return Selection(
        action_ids=ids,
        mask=_or_none(mask),
        logged=logged,
        eta=eta,
        held_out=first.held_out,
        uniform=first.uniform,
        chosen=chosen,
        propensity=propensity,
    )


def _or_none(mask: Mask) -> Mask | None:
    return None if mask.all() else mask
