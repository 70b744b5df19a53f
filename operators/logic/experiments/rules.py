"""What is done at a look, from figures alone: at most a verdict, or steps that leave the test on.

- A guardrail that a challenger breaches acts first, and asks for no gate: the challenger is pulled,
  and where none is left the experiment falls back to the baseline.
- An alarm of the sample ratio forbids all other actions: the scores are then not what they seem.
- A winner is better than the baseline in one primary metric at least, and worse in none and in no
  guardrail, by the lower bound of the difference's confidence sequence; it has passed the gates.
- A loser is worse in a primary metric; it has passed the gates, too, and is pulled. Where none but
  losers and futile ones are left, and at the end without a winner, the baseline stays.

Only an experiment that runs acts, and one that has ended, whose verdict is due. Direction belongs
to the metric: the baseline can win.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from operators.logic.experiments.figures import Comparison, Figures
from operators.logic.experiments.triggers import (
    Value,
    is_better,
    is_futile,
    is_worse,
    numbers,
)

Step = Literal["decide", "fall_back", "pull", "ramp"]
"""What is done to the experiment's record."""

Power = Literal["winner", "stop_loser", "fall_back", "ramp"]
"""The declaration that says whether the step is taken, or proposed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """A step that the rules take or propose, with its reason and evidence.

    ``variation_id`` is the winner of ``decide``, None where the baseline stays, or the variation
    that is pulled; ``share`` the next one of a ramp.
    """

    step: Step
    power: Power
    experiment_id: str
    at: int
    reason: str
    variation_id: str | None = None
    share: float | None = None
    evidence: Mapping[str, Value] = field(default_factory=dict)


def choose_actions(figures: Figures) -> list[Action]:
    """Give what is to be done at a look: pulls, or one action of another kind, or nothing.

    Raises nothing: a comparison without bounds, or one that must not act, is as if not there.
    """
    if figures.phase not in ("running", "ended"):
        return []
    running = figures.phase == "running"
    if running and (harmful := _fall_back(figures)):
        return harmful
    if figures.sample_ratio.alarm:
        split = "exposures were not split as logged"
        return [_no_winner(figures, split)] if figures.final else []
    if winner := _winner(figures):
        return [winner]
    if figures.final:
        return [_no_winner(figures, _why_none(figures))]
    if not running:
        return []
    lost = {name: why for name in figures.challengers if (why := _why_lost(figures, name))}
    if lost and len(lost) == len(figures.challengers):
        return [_no_winner(figures, "; ".join(why for _, why in lost.values()))]
    losers = {name: each for name, (each, _) in lost.items() if is_worse(each)}
    if losers:
        return [
            _action(figures, "pull", "stop_loser", each, lost[name][1], variation_id=name)
            for name, each in losers.items()
        ]
    return _ramp(figures)


def _fall_back(figures: Figures) -> list[Action]:
    """Take harmful challengers from visitors; the whole test, where no other is left."""
    breaches: dict[str, Comparison] = {}
    for each in figures.comparisons:
        if each.role == "guardrail" and is_worse(each):
            breaches.setdefault(each.variation_id, each)
    reasons = {name: f"{name} harms {each.metric}" for name, each in breaches.items()}
    if breaches and len(breaches) == len(figures.challengers):
        worst = next(iter(breaches.values()))
        return [_action(figures, "fall_back", "fall_back", worst, "; ".join(reasons.values()))]
    return [
        _action(figures, "pull", "fall_back", each, reasons[name], variation_id=name)
        for name, each in breaches.items()
    ]


def _winner(figures: Figures) -> Action | None:
    """Declare the challenger with the greatest lower bound among those that won."""
    won: list[tuple[float, Comparison]] = []
    for name in figures.challengers:
        every = figures.of(name, "primary") + figures.of(name, "guardrail")
        better = [each for each in figures.of(name, "primary") if is_better(each)]
        if not better or any(is_worse(each) for each in every) or figures.missing(name):
            continue
        won += [(each.gain.lower, each) for each in better if each.gain is not None]
    if not won:
        return None
    best = max(won, key=lambda pair: pair[0])[1]
    reason = f"{best.variation_id} is better than {figures.baseline_id} in {best.metric}"
    return _action(figures, "decide", "winner", best, reason, variation_id=best.variation_id)


def _why_lost(figures: Figures, name: str) -> tuple[Comparison, str] | None:
    """Say why a challenger is given up: a loss in one primary metric, or futile in them all."""
    if figures.missing(name):
        return None
    primaries = figures.of(name, "primary")
    for each in primaries:
        if is_worse(each):
            return each, f"{figures.baseline_id} is better than {name} in {each.metric}"
    if primaries and all(is_futile(each) for each in primaries):
        return primaries[0], f"{name} does not improve {primaries[0].metric} by what would matter"
    return None


def _why_none(figures: Figures) -> str:
    reasons = []
    for name in figures.challengers:
        missing = figures.missing(name)
        reasons.append(missing or f"{name} is not known to be better than {figures.baseline_id}")
    return "; ".join(dict.fromkeys(reasons)) or "no challenger is left"


def _no_winner(figures: Figures, reason: str) -> Action:
    text = f"no winner, {figures.baseline_id} stays: {reason}"
    return _action(figures, "decide", "winner", None, text)


def _ramp(figures: Figures) -> list[Action]:
    """Include more, once a stage of the ramp has had what it needs without harm."""
    stage = figures.ramp
    if stage is None or stage.units < stage.units_needed:
        return []
    reason = f"{stage.units} closed scores at this share, and nothing speaks against more"
    evidence: dict[str, Value] = {"units": stage.units, "units_needed": stage.units_needed}
    return [
        Action(
            step="ramp",
            power="ramp",
            experiment_id=figures.experiment_id,
            at=figures.at,
            reason=reason,
            share=stage.next_share,
            evidence=evidence,
        )
    ]


def _action(
    figures: Figures,
    step: Step,
    power: Power,
    comparison: Comparison | None,
    reason: str,
    variation_id: str | None = None,
) -> Action:
    evidence: dict[str, Value] = {"days": figures.days}
    if comparison is not None and comparison.difference is not None:
        evidence |= {"variation_id": comparison.variation_id, "metric": comparison.metric}
        evidence |= {"direction": comparison.direction} | numbers(comparison.difference)
    for name in dict.fromkeys((figures.baseline_id, variation_id)):
        if name is not None and (has := figures.evidence.get(name)):
            evidence |= {f"units of {name}": has.units, f"rewards of {name}": has.rewards}
    return Action(
        step=step,
        power=power,
        experiment_id=figures.experiment_id,
        at=figures.at,
        reason=reason,
        variation_id=variation_id,
        evidence=evidence,
    )
