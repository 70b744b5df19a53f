"""Records that Banditflow makes: outcomes, profiles, policies, dead letters and others."""

from typing import Annotated, Any, Literal

from msgspec import Struct, field

from schemas.catalog import AutoFeatures
from schemas.events import Time
from schemas.fields import stored_since

OutcomeStatus = Literal["pending", "settled", "void"]
DeliveryStatus = Literal["pending", "sent", "failed", "suppressed"]


class Outcome(Struct, kw_only=True, omit_defaults=True, gc=False):
    """What became of a decision: its reward in [0, 1] so far (pending) or for good (settled).

    ``time`` is the decision's time; ``delay`` the seconds from it to the first reward. A void
    outcome counts for nothing, whatever was reported before. ``revision`` rises with each report
    on the same decision, so (key, status, revision) names an outcome record. ``not_learned`` is why
    no policy and no model learns from it, where none does though it counts.
    """

    time: Time
    subject: str | None
    decision_id: str
    key: str
    slot_id: str
    action_id: str
    propensity: float
    reward: float
    status: OutcomeStatus
    revision: int
    activated: bool
    policy_version: int
    policy: str = ""
    reason: str = ""
    delay: float | None = None
    experiment_id: str | None = None
    variation_id: str | None = None
    features: str | None = None
    mapping: str = ""
    eta: float = 0.0
    settled_at: Time | None = None
    not_learned: Annotated[str, stored_since(7)] = ""


class Profile(Struct, kw_only=True, omit_defaults=True):
    """What is remembered of a consenting subject; ``version`` rises with every change."""

    subject: str
    version: int
    time: Time
    features: dict[str, float] = field(default_factory=dict)
    embedding: list[float] | None = None
    purposes: list[int] = field(default_factory=list)
    deleted: bool = False


class ActionSummary(Struct, kw_only=True, omit_defaults=True, gc=False):
    """What was observed of an action, and what the slot's policy believes that it earns.

    ``count`` decisions (weighted by age, where the policy forgets) earned ``reward`` together,
    which is ``observed`` for each; None where nothing was observed. ``mean`` and ``deviation`` are
    those of the policy's posterior of the mean reward, the prior's for an action that was never
    shown; None of policies that do not learn. A policy with context believes it at the mean
    features of the decisions that it has learned from.
    """

    action_id: str
    count: float
    reward: float
    mean: float | None
    deviation: float | None
    observed: float | None = None


class SucceedingView(Struct, kw_only=True):
    """How far the view of a slot's present settings is: it decides once ``needed`` is reached.

    It learns the decisions made from ``since`` on, and has learned ``decisions``.
    """

    since: Time
    decisions: float
    needed: float


class FeaturesView(Struct, kw_only=True, omit_defaults=True):
    """How a posterior sees features without a declaration: ``auto`` of the slot's features.

    ``successor`` says that the slot's settings are others by now: this view decides until that of
    the present ones has learned enough.
    """

    auto: AutoFeatures
    successor: SucceedingView | None = None


class PolicySnapshot(Struct, kw_only=True, omit_defaults=True):
    """A slot's learned policy as it was published; its rewards are on the slot's own scale.

    ``version`` rises with each publication; ``time`` is the newest outcome learned from;
    ``posterior`` is the policy's own compact form (base64), which scoring loads. A record that
    would be too large has an empty ``posterior``, or lacks the ``actions`` with the fewest
    decisions, which ``actions_left_out`` counts: what it holds is of its version. ``features_view``
    is given where the policy learns from features without a declaration.
    """

    slot_id: str
    policy: str
    version: int
    time: Time
    decisions: float
    rewards: float
    actions: list[ActionSummary]
    posterior: str
    published_at: Time | None = None
    models: dict[str, float] = field(default_factory=dict)
    actions_left_out: Annotated[int, stored_since(6)] = 0
    features_view: Annotated[FeaturesView | None, stored_since(11)] = None


class PolicyCheckpoint(Struct, kw_only=True, omit_defaults=True):
    """One part of a checkpoint: what settled decisions taught a slot's learner.

    ``banditflow run personalize --from-store`` can start from it.

    It counts every decision of the slot whose reward window had closed by ``time`` and no other.
    ``state``, joined over the ``parts``, is the learner's own compact form (base64). ``generation``
    alternates, so that a checkpoint that is being written does not replace the one before.
    """

    slot_id: str
    time: Time
    version: int
    generation: int
    part: int
    parts: int
    decisions: float
    rewards: float
    state: str


class DeadLetter(Struct, kw_only=True, omit_defaults=True, gc=False):
    """A record that could not be used: why, where it lies, but never what it says.

    ``hash`` is the SHA-256 of the payload, ``size`` its bytes, ``time`` the broker's timestamp.
    """

    reason: str
    topic: str
    partition: int
    offset: int
    size: int
    hash: str
    time: Time | None = None
    field: str | None = None
    detail: str = ""


class TestReport(Struct, kw_only=True, omit_defaults=True):
    """The state of an experiment at a moment."""

    experiment_id: str
    slot_id: str
    time: Time
    summary: dict[str, Any] = field(default_factory=dict)


class OptimizedContent(Struct, kw_only=True, omit_defaults=True):
    """The winner of a slot for a segment of visitors, from ``time`` until the next one.

    ``probability`` is that of being the best action, where the method that chose it gives one.
    """

    slot_id: str
    time: Time
    action_id: str
    segment: str = "all"
    experiment_id: str | None = None
    policy_version: int | None = None
    probability: float | None = None
    content: dict[str, Any] | None = None
    reason: str = ""


class Delivery(Struct, kw_only=True, omit_defaults=True):
    """Content handed to a channel; ``revision`` rises with each attempt and each answer.

    ``time`` is when it was asked for and stays, ``updated_at`` when it came to this ``status``.
    """

    delivery_id: str
    time: Time
    channel: str
    subject: str | None
    slot_id: str
    action_id: str
    status: DeliveryStatus
    revision: int
    attempts: int = 0
    decision_id: str | None = None
    updated_at: Time | None = None
    reason: str = ""


class ErasureReceipt(Struct, kw_only=True, omit_defaults=True):
    """Proof that a subject was erased: what was removed from each part, under its pseudonym.

    ``event_id`` names the erasure asked for at ``time``; ``removed`` counts by part.
    """

    receipt_id: str
    event_id: str
    subject: str
    time: Time
    completed_at: Time
    removed: dict[str, int] = field(default_factory=dict)
