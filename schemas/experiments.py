"""The parts of an experiment's record: who is included, what is measured, what may act by itself.

The record itself is :class:`schemas.catalog.Experiment`. What the parts may be together is checked
by :func:`operators.logic.experiments.checking.flaw_of_experiment`.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from schemas import bounds
from schemas.events import Id, Probability, Time

State = Literal["draft", "scheduled", "running", "paused", "stopped", "decided"]
"""What the record says: :func:`operators.logic.experiments.phases.phase_at` says what holds."""

Mode = Literal["fixed", "bandit", "apprentice"]
"""Who divides the traffic: the weights, a policy over the variations, or nobody.

In ``apprentice`` everybody gets the baseline, and the others are scored by what they would have
done.
"""

Unit = Literal["subject", "decision"]
"""What is assigned, and scored: a visitor, once for the whole run, or each decision."""

Authority = Literal["auto", "propose"]
"""Whether an action is taken by itself, or waits as a proposal until somebody approves of it."""

Step = Literal[
    "create",
    "edit",
    "schedule",
    "start",
    "pause",
    "resume",
    "ramp",
    "pull",
    "stop",
    "fall_back",
    "decide",
    "propose",
    "reject",
    "undo",
]
"""What a record did to the one before: :mod:`operators.logic.experiments.lifecycle`."""

Name = Annotated[str, Meta(max_length=bounds.ID_LENGTH)]

Weight = (
    Annotated[int, Meta(ge=0, le=bounds.GREATEST_WEIGHT)]
    | Annotated[float, Meta(ge=0.0, le=bounds.GREATEST_WEIGHT)]
    | Annotated[str, Meta(max_length=40, pattern=r"^\d{1,9}(\.\d{1,9})?$|^\d{1,9}/\d{1,9}$")]
)
"""A part of the traffic beside the others': a number, exact as it is written, or ``"1/3"``."""

MetricValue = Annotated[float, Meta(ge=-bounds.GREATEST_REWARD, le=bounds.GREATEST_REWARD)]

LayerBucket = Annotated[int, Meta(ge=0, le=bounds.LAYER_BUCKETS)]


class Layer(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Which buckets of a layer an experiment takes, from ``start`` to before ``stop``.

    A layer divides its units into 10,000 buckets by one hash: experiments whose ranges do not meet
    never have a unit in common.
    """

    layer_id: Id
    start: LayerBucket = 0
    stop: LayerBucket = bounds.LAYER_BUCKETS


class Condition(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What a field of a request's context has to be; inner fields are named with dots.

    ``values`` are those that the field is compared with: one for ``lt``, ``le``, ``gt`` and ``ge``,
    none for ``exists`` and ``missing``.
    """

    field: Id
    operator: Literal["in", "not_in", "lt", "le", "gt", "ge", "exists", "missing"] = "in"
    values: Annotated[
        list[bool | int | float | Annotated[str, Meta(max_length=bounds.TEXT_LENGTH)]],
        Meta(max_length=bounds.MOST_CONDITION_VALUES),
    ] = []


Conditions = Annotated[list[Condition], Meta(max_length=bounds.MOST_CONDITIONS)]


class Targeting(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Whose requests an experiment is about: each of ``all_of`` holds, and one of ``any_of``.

    An empty list asks for nothing.
    """

    all_of: Conditions = field(default_factory=list)
    any_of: Conditions = field(default_factory=list)


class RampStep(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The share of units that is included from a time on."""

    time: Time
    share: Probability


class Gates(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What has to be there before any winner is declared.

    ``days`` of the run, closed scores of so many ``subjects`` (or decisions, where these are the
    unit) and so many of them with a reward, in each variation.
    """

    days: Annotated[float, Meta(ge=0.0, le=bounds.LONGEST_GATE)] = 7.0
    subjects: Annotated[int, Meta(ge=0, le=bounds.MOST_GATED)] = 100
    rewards: Annotated[int, Meta(ge=0, le=bounds.MOST_GATED)] = 20


class Metric(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What is measured of a unit: its total over ``window`` seconds after its first exposure.

    ``source`` is the type of the records that are summed, or ``reward``: the slot's own reward.
    The window is the slot's reward window where none is given. min(total, ``cap``) is the metric:
    without a cap, a metric by subject is shown and never acts. ``direction`` says which way is
    better, ``range`` what one decision's value may be. ``population`` says whether decisions that
    were never shown count, with the slot's default reward, or are left out. A guardrail is breached
    by a loss of more than ``margin`` against the baseline, as a share of the baseline's value.
    """

    metric_id: Id
    role: Literal["primary", "guardrail"] = "primary"
    source: Id = "reward"
    window: (
        Annotated[float, Meta(ge=bounds.LEAST_REWARD_WINDOW, le=bounds.LONGEST_REWARD_WINDOW)]
        | None
    ) = None
    cap: Annotated[float, Meta(gt=0.0, le=bounds.GREATEST_REWARD)] | None = None
    direction: Literal["increase", "decrease"] = "increase"
    range: tuple[MetricValue, MetricValue] = (0.0, 1.0)
    population: Literal["activated", "assigned"] = "activated"
    margin: Probability = 0.0


class AutomaticActions(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Which actions are taken by themselves, and which are proposed."""

    winner: Authority = "propose"
    ramp: Authority = "propose"
    stop_loser: Authority = "propose"
    fall_back: Authority = "auto"


class Proposal(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """An action that waits for somebody's approval; ``variation_id`` and ``share`` are its own."""

    step: Literal["decide", "stop", "fall_back", "pull", "ramp"]
    author: Name
    reason: Annotated[str, Meta(max_length=bounds.DETAIL_LENGTH)]
    variation_id: Id | None = None
    share: Probability | None = None
    evidence: dict[str, Any] = field(default_factory=dict)


class Change(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """How a record came from the one before: what was done, by whom, why, and on what evidence."""

    step: Step
    author: Name
    reason: Annotated[str, Meta(max_length=bounds.DETAIL_LENGTH)]
    evidence: dict[str, Any] = field(default_factory=dict)
