"""Records that visitors cause: requests, decisions, impressions, clicks, rewards, consents.

Every record carries the CloudEvents fields ``id, source, type, time, subject``, flattened. On the
topics that applications write, ``subject`` is the visitor's raw id; on ours it is a pseudonym.
"""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta, Raw, Struct, field

from schemas import bounds
from schemas.fields import TOLERANT, free_json, stored_since

Id = Annotated[str, Meta(min_length=1, max_length=bounds.ID_LENGTH)]
"""An identifier: 1 to 256 characters."""

Text = Annotated[str, Meta(max_length=bounds.TEXT_LENGTH)]
"""A short text that names no record."""

Time = Annotated[datetime, Meta(tz=True)]
"""An ISO 8601 time with a zone."""

Probability = Annotated[float, Meta(ge=0.0, le=1.0)]

PolicyVersion = Annotated[int, Meta(ge=0, le=bounds.GREATEST_POLICY_VERSION)]

LinearPredictor = Annotated[float, Meta(ge=-bounds.GREATEST_ETA, le=bounds.GREATEST_ETA)]

Position = Annotated[int, Meta(ge=0, le=bounds.GREATEST_POSITION)]

Purpose = Annotated[int, Meta(ge=0, le=bounds.GREATEST_PURPOSE)]

SubjectWindow = Annotated[str, Meta(min_length=8, max_length=8)]

if TYPE_CHECKING:
    Context = dict[str, Any]
else:
    Context = Annotated[free_json(bounds.CONTEXT_DEPTH), TOLERANT]
    """JSON that is known of the moment: what cannot be kept of it is as if missing."""

LearningMode = Literal["immediate", "wait", "exposure"]
"""When an unanswered decision starts to count as a failure: ``docs/explanation/attribution.md``."""


class Envelope(Struct, kw_only=True, gc=False):
    """The fields that every incoming record has; ``id`` deduplicates the record."""

    id: Id
    time: Time
    subject: Id
    source: Text = ""


def _nothing() -> Raw:
    return Raw(b"null")


class RankableAction(Struct, gc=False):
    """A candidate that comes with a request: its id, and features that nobody published before.

    ``features`` are a JSON object or a list of objects, null where there are none; they are read
    where they are used (:mod:`operators.logic.deciding.contents`), once for each content.
    """

    id: Id
    features: Raw = field(default_factory=_nothing)


class DecisionRequest(Envelope, kw_only=True):
    """Asks which action to show to a visitor in a slot.

    ``actions`` narrows the slot's catalog to these candidates, or brings them, as the slot says;
    ``excluded`` removes some. With ``deferred`` the decision counts only once its impression has
    arrived, whatever the slot says. ``robot`` says that no person asks: the decision is made and
    reported, and teaches nothing.
    """

    slot_id: Id
    decision_id: Id | None = None
    context: Context = {}
    actions: (
        Annotated[list[Id | RankableAction], Meta(max_length=bounds.MOST_CANDIDATES)] | None
    ) = None
    excluded: list[Id] = []
    deferred: bool = False
    robot: bool = False
    type: Text = "decision-request"


class Impression(Envelope, kw_only=True, gc=False):
    """What a decision shows was on the visitor's screen: all of it, or one action or position."""

    decision_id: Id
    slot_id: Id
    action_id: Id | None = None
    position: Position | None = None
    viewable: bool | None = None
    type: Text = "impression"


class Click(Envelope, kw_only=True, gc=False):
    """The visitor clicked what a decision had shown, at its first position where none is named."""

    decision_id: Id
    slot_id: Id
    position: Position | None = None
    target_url: Annotated[str, Meta(max_length=bounds.URL_LENGTH)] | None = None
    type: Text = "click"


class Reward(Envelope, kw_only=True, gc=False):
    """A value earned by a decision: a conversion, dwell time; in the slot's reward range.

    It is earned by the action at ``position`` of what the decision shows, the first where none is
    named.
    """

    decision_id: Id
    slot_id: Id
    value: Annotated[float, Meta(ge=-bounds.GREATEST_REWARD, le=bounds.GREATEST_REWARD)]
    position: Position | None = None
    type: Text = "reward"


class Consent(Envelope, kw_only=True, tag_field="type", tag="consent"):
    """The visitor's consent as it stands from ``time`` on: IAB TCF purposes by number.

    What they allow is said in :mod:`schemas.consent`; an empty list withdraws everything.
    """

    purposes: Annotated[list[Purpose], Meta(max_length=bounds.MOST_PURPOSES)]
    basis: Text = "consent"
    version: Text = ""


class Erasure(Envelope, kw_only=True, tag_field="type", tag="erasure"):
    """The visitor asks that everything kept about them be removed."""


class Ranked(Struct, gc=False):
    """An eligible action and the probability with which it could have been chosen."""

    action_id: Id
    probability: Probability


class Placed(Struct, gc=False):
    """An action shown in a slate, first position first.

    ``probability`` is that of drawing it given the actions above it, ``eta`` its mean linear
    predictor at its position.
    """

    action_id: Id
    probability: Annotated[float, Meta(ge=0.0, le=1.0 + 1e-9)]
    eta: LinearPredictor


class LoggedFeatures(Struct, gc=False):
    """The features that a request gave to an action: a JSON object or a list of objects."""

    action_id: Id
    features: Raw


class Assignment(Struct, kw_only=True, frozen=True, omit_defaults=True, gc=False):
    """Which variation of an experiment a decision was made under, and how likely that was.

    ``probability`` is that of the variation given that the unit counts, exactly as it was drawn; by
    subject it is the probability that the subject had when it was assigned. ``not_counted`` says
    why the decision enters no score, where it does not.
    """

    experiment_id: Id
    variation_id: Id
    probability: Probability
    unit: Literal["subject", "decision"]
    not_counted: Text = ""


class DecisionBack(Struct, kw_only=True, gc=False):
    """The fields of a :class:`Decision` that the flow reads back from its own topic.

    A field that they need is declared here, one for the audit alone in :class:`Decision`. A new
    one has a default, says since which migration it is stored, and is written in
    ``operators/decide/decision_encoder.py``.

    ``time`` is the request's time, so that a replay gives the same times. ``key`` is a 64-bit keyed
    hash of (subject, decision_id), in hexadecimal: the join key of attribution and of the resume
    fence. ``features`` is the context vector (base64 of little-endian float32), ``mapping`` the
    fingerprint of the feature spec that says what its columns mean, ``eta`` the chosen
    action's mean linear predictor. In a slot that shows several actions ``slate`` is what is
    shown, ``action_id`` its first action and ``propensity`` the probability of the order shown:
    the product over the slate. ``writer`` is which part of Banditflow decided. ``robot`` is the
    request's; ``subject_window`` a 32-bit keyed hash, in hexadecimal, of the visitor, whether it is
    named, the slot and a span of time that holds windows of both its ``subject_limit`` and its
    ``robot_rate``: it tells which decisions are one visitor's within that span, and nothing beyond.
    ``contents`` are the features that came with the request of what is shown, in its order, and
    where the slot says so those of the other candidates, the most probable first. ``context`` is
    the request's where the slot takes features without a declaration: its policies learn from it
    and from ``contents`` as they are.
    """

    id: Id
    time: Time
    subject: Text | None
    decision_id: Id
    key: Annotated[str, Meta(min_length=16, max_length=16)]
    slot_id: Id
    action_id: Id
    propensity: Annotated[float, Meta(gt=0.0, le=1.0 + 1e-9)]
    policy: Text
    policy_version: PolicyVersion
    expires_at: Time
    experiment_id: Text | None = None
    variation_id: Text | None = None
    learning_mode: LearningMode = "immediate"
    deferred: bool = False
    features: Annotated[str, Meta(max_length=bounds.FEATURES_LENGTH)] | None = None
    mapping: Text = ""
    eta: LinearPredictor = 0.0
    request_hash: Text = ""
    slate: Annotated[
        Annotated[list[Placed], Meta(max_length=bounds.MOST_POSITIONS)] | None, stored_since(9)
    ] = None
    writer: Annotated[Text, stored_since(5)] = "personalize"
    robot: Annotated[bool, stored_since(7)] = False
    subject_window: SubjectWindow | None = None
    contents: Annotated[
        Annotated[list[LoggedFeatures], Meta(max_length=bounds.MOST_CANDIDATES)] | None,
        stored_since(10),
    ] = None
    context: Annotated[dict[str, Raw] | None, stored_since(10)] = None


class Decision(DecisionBack, kw_only=True, omit_defaults=True, gc=True):
    """What was chosen, with the exact probability of choosing it (the propensity).

    ``ranking`` is every eligible action with its probability, ``draw`` the uniform number that
    picked the action, ``policy_time`` the time of the newest outcome that the policy had learned
    from, ``decided_at`` the wall clock. Where the record would be too large, the least probable
    actions that are not shown are left out of ``ranking``: ``ranking_left_out`` counts them,
    ``ranking_left_out_probability`` is the sum of their probabilities. ``contents_left_out`` counts
    the actions whose features should be in ``contents`` and had no room there. ``experiments`` are
    those that the decision counts for, or that somebody may want to know of
    (:data:`operators.logic.experiments.reasons.LOGGED`).
    """

    ranking: list[Ranked]
    source: Text = "banditflow/personalize"
    type: Text = "decision"
    baseline_action_id: Text | None = None
    draw: Probability = 0.0
    policy_time: Time | None = None
    decided_at: Time | None = None
    ranking_left_out: Annotated[int, stored_since(6)] = 0
    ranking_left_out_probability: Annotated[float, stored_since(6)] = 0.0
    contents_left_out: Annotated[int, stored_since(10)] = 0
    experiments: Annotated[
        Annotated[list[Assignment], Meta(max_length=bounds.MOST_EXPERIMENTS)], stored_since(12)
    ] = []
