"""What rules see of an experiment at a look: figures only, of the challengers that are served."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from operators.logic.experiments.bounds import Bounds, Direction
from operators.logic.experiments.sample_ratio import RatioVerdict

Role = Literal["primary", "guardrail"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A challenger's metric at a look.

    ``difference`` bounds the challenger's mean less the baseline's, by one sequence over scores of
    their own; of a guardrail, less what it allows: the baseline's mean, worsened by the margin.
    None while there is not enough for one. ``direction`` belongs to the metric. ``may_act`` says
    whether its scores are bounded as declared. ``worth`` is the least improvement that would
    matter, on the metric's scale; None where none was declared, and futility is never judged.
    """

    variation_id: str
    metric: str
    role: Role
    direction: Direction
    difference: Bounds | None
    may_act: bool = True
    worth: float | None = None

    @property
    def gain(self) -> Bounds | None:
        """The difference so that more is better; None where nothing may act on it."""
        if self.difference is None or not self.may_act:
            return None
        return self.difference.towards(self.direction)


@dataclass(frozen=True, slots=True)
class Evidence:
    """How much a variation has: its closed scores, and those of them with a reward."""

    units: int
    rewards: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Gates:
    """What each variation, and the run, must have before there is any verdict."""

    days: float
    units: int
    rewards: int


@dataclass(frozen=True, slots=True)
class Drift:
    """A change of a stream's mean that a detector has seen."""

    stream: str
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class RampStage:
    """The stage of a ramp that waits for evidence: its next share, and what this stage has had."""

    next_share: float
    units: int
    units_needed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """An experiment at a look.

    Attributes
    ----------
    experiment_id, baseline_id
    phase : str
        ``running``, or ``ended`` from its end on; in any other one nothing acts.
    at : int
        The look's event time, in microseconds.
    days : float
        How long it has run.
    evidence
        By variation, the baseline's included.
    comparisons
        Of the challengers that are served, one for each metric.
    gates
    sample_ratio
    probabilities
        The present split by variation.
    least_probability : float
        Below it a variation is explored no more.
    last_exposure : int or None
        The time of the newest one; the start, where there was none.
    grace : int
        So long an experiment may be without any, in microseconds.
    final : bool
        Whether it has ended and every score is closed.
    drifts
    ramp
    """

    experiment_id: str
    baseline_id: str
    phase: str
    at: int
    days: float
    evidence: Mapping[str, Evidence]
    comparisons: tuple[Comparison, ...]
    gates: Gates
    sample_ratio: RatioVerdict
    probabilities: Mapping[str, float]
    least_probability: float
    last_exposure: int
    grace: int
    final: bool = False
    drifts: tuple[Drift, ...] = ()
    ramp: RampStage | None = None

    @property
    def challengers(self) -> list[str]:
        """The variations compared with the baseline, in the order of their comparisons."""
        return list(dict.fromkeys(each.variation_id for each in self.comparisons))

    def of(self, variation_id: str, role: Role) -> list[Comparison]:
        """Give a challenger's comparisons of one role."""
        return [
            each
            for each in self.comparisons
            if each.variation_id == variation_id and each.role == role
        ]

    def missing(self, variation_id: str) -> str | None:
        """Say which gate a challenger has not passed; None where it has passed them all."""
        gates = self.gates
        if self.days < gates.days:
            return f"it has run {self.days:.3g} days of {gates.days:.3g}"
        for name in (self.baseline_id, variation_id):
            has = self.evidence.get(name, Evidence(0, 0))
            if has.units < gates.units:
                return f"{name} has {has.units} closed scores of {gates.units}"
            if has.rewards < gates.rewards:
                return f"{name} has {has.rewards} rewarded scores of {gates.rewards}"
        return None
