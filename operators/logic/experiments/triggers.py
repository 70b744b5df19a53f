"""What an experiment's figures trigger at a look: findings that are reported, and act by no means.

A finding holds as long as its figures do; what is new at a look, :func:`new_findings` says.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from operators.logic.experiments.bounds import Bounds
from operators.logic.experiments.figures import Comparison, Figures

Kind = Literal[
    "significance",
    "futility",
    "guardrail",
    "sample_ratio",
    "drift",
    "exploration_collapsed",
    "no_data",
    "end_reached",
]

Value = float | int | str | None
Key = tuple[Kind, str | None, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerFinding:
    """Something that holds of an experiment at a look, with its figures; None for no number."""

    kind: Kind
    experiment_id: str
    at: int
    reason: str
    variation_id: str | None = None
    metric: str | None = None
    evidence: Mapping[str, Value] = field(default_factory=dict)

    @property
    def key(self) -> Key:
        """What it is about: at most one finding of a look has it."""
        return self.kind, self.variation_id, self.metric


def new_findings(
    findings: Sequence[TriggerFinding], before: Collection[Key]
) -> list[TriggerFinding]:
    """Give the findings that did not hold at the look before."""
    return [finding for finding in findings if finding.key not in before]


def find_triggers(figures: Figures) -> list[TriggerFinding]:
    """Give all that holds at a look, what weighs most first."""
    found = [*_guardrails(figures), *_sample_ratio(figures), *_primaries(figures)]
    return [*found, *_traffic(figures), *_drifts(figures), *_end(figures)]


def is_better(comparison: Comparison) -> bool:
    """Tell whether a challenger is better than what it is compared with, for certain."""
    return comparison.gain is not None and comparison.gain.positive


def is_worse(comparison: Comparison) -> bool:
    """Tell whether it is worse, for certain."""
    return comparison.gain is not None and comparison.gain.negative


def is_futile(comparison: Comparison) -> bool:
    """Tell whether it is not better by as much as would matter, for certain."""
    gain, worth = comparison.gain, comparison.worth
    return gain is not None and worth is not None and gain.below(worth)


def numbers(bounds: Bounds) -> dict[str, Value]:
    """Give bounds as a record holds them: null where an end is infinite.

    >>> numbers(Bounds(0.25, math.inf, 0.95))
    {'lower': 0.25, 'upper': None, 'level': 0.95}
    """
    ends = {"lower": bounds.lower, "upper": bounds.upper, "level": bounds.level}
    return {name: value if math.isfinite(value) else None for name, value in ends.items()}


def _guardrails(figures: Figures) -> Iterator[TriggerFinding]:
    for each in figures.comparisons:
        if each.role == "guardrail" and is_worse(each):
            reason = f"{each.variation_id} harms {each.metric} by more than is allowed"
            yield _compared("guardrail", figures, each, reason)


def _sample_ratio(figures: Figures) -> Iterator[TriggerFinding]:
    verdict = figures.sample_ratio
    if not verdict.alarm:
        return
    worst = max(verdict.deviations, key=lambda each: abs(each.difference or 0.0))
    yield TriggerFinding(
        kind="sample_ratio",
        experiment_id=figures.experiment_id,
        at=figures.at,
        reason=(
            f"exposures are not split as logged: {worst.variation_id} has "
            f"{worst.difference or 0.0:+.3%} of them beside its share"
        ),
        evidence={
            "log_e": verdict.log_e,
            "alpha": verdict.alpha,
            "exposures": verdict.count,
            "variation_id": worst.variation_id,
            "difference": worst.difference,
            "lower": worst.low,
            "upper": worst.high,
        },
    )


def _primaries(figures: Figures) -> Iterator[TriggerFinding]:
    for each in figures.comparisons:
        if each.role != "primary":
            continue
        if is_better(each):
            reason = f"{each.variation_id} is better than {figures.baseline_id} in {each.metric}"
            yield _compared("significance", figures, each, reason)
        elif is_worse(each):
            reason = f"{figures.baseline_id} is better than {each.variation_id} in {each.metric}"
            yield _compared("significance", figures, each, reason)
        if is_futile(each):
            reason = f"{each.variation_id} does not improve {each.metric} by what would matter"
            yield _compared("futility", figures, each, reason)


def _traffic(figures: Figures) -> Iterator[TriggerFinding]:
    for name, probability in figures.probabilities.items():
        if probability < figures.least_probability:
            yield TriggerFinding(
                kind="exploration_collapsed",
                experiment_id=figures.experiment_id,
                at=figures.at,
                variation_id=name,
                reason=f"{name} is given too seldom to learn of it",
                evidence={"probability": probability, "least": figures.least_probability},
            )
    silent = figures.at - figures.last_exposure
    if figures.phase == "running" and silent > figures.grace:
        yield TriggerFinding(
            kind="no_data",
            experiment_id=figures.experiment_id,
            at=figures.at,
            reason=f"nobody was exposed for {silent / 1e6:.0f} seconds",
            evidence={"seconds": silent / 1e6, "grace": figures.grace / 1e6},
        )


def _drifts(figures: Figures) -> Iterator[TriggerFinding]:
    for drift in figures.drifts:
        yield TriggerFinding(
            kind="drift",
            experiment_id=figures.experiment_id,
            at=figures.at,
            metric=drift.stream,
            reason=f"the mean of {drift.stream} has changed",
            evidence={"before": drift.before, "after": drift.after},
        )


def _end(figures: Figures) -> Iterator[TriggerFinding]:
    if figures.final:
        yield TriggerFinding(
            kind="end_reached",
            experiment_id=figures.experiment_id,
            at=figures.at,
            reason="it has ended, and every score is closed",
            evidence={"days": figures.days},
        )


def _compared(kind: Kind, figures: Figures, comparison: Comparison, reason: str) -> TriggerFinding:
    assert comparison.difference is not None
    return TriggerFinding(
        kind=kind,
        experiment_id=figures.experiment_id,
        at=figures.at,
        variation_id=comparison.variation_id,
        metric=comparison.metric,
        reason=reason,
        evidence={"direction": comparison.direction} | numbers(comparison.difference),
    )
