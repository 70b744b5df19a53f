"""The configuration stream: slots, actions (content variants) and experiments.

A record replaces the earlier one about the same slot, action or experiment from its ``time`` on;
``deleted`` removes it. What is too large or too deep for a later step is refused here by field, or
by :func:`operators.logic.catalog_check.flaw_of`.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from schemas import bounds
from schemas.events import Id, LearningMode, Probability, Time
from schemas.experiments import (
    AutomaticActions,
    Change,
    Gates,
    Layer,
    Metric,
    Mode,
    Proposal,
    RampStep,
    State,
    Targeting,
    Unit,
    Weight,
)

Name = Annotated[str, Meta(max_length=bounds.ID_LENGTH)]
"""What a record calls something: a feature, a category, a kind."""

Names = Annotated[list[Name], Meta(max_length=bounds.MOST_COLUMNS)]
LimitedDecisions = Annotated[int, Meta(ge=1, le=bounds.MOST_LIMITED_DECISIONS)]
LimitWindow = Annotated[float, Meta(ge=bounds.LEAST_LIMIT_WINDOW, le=bounds.LONGEST_LIMIT_WINDOW)]
VectorLength = Annotated[int, Meta(ge=1, le=bounds.LONGEST_VECTOR)]
RewardValue = Annotated[float, Meta(ge=-bounds.GREATEST_REWARD, le=bounds.GREATEST_REWARD)]
RewardWindow = Annotated[
    float, Meta(ge=bounds.LEAST_REWARD_WINDOW, le=bounds.LONGEST_REWARD_WINDOW)
]


class CatalogRecord(Struct, kw_only=True, tag_field="type"):
    """The fields of every catalog record."""

    id: Id
    time: Time
    source: Name = ""
    subject: Name | None = None
    deleted: bool = False


class PolicySettings(Struct, kw_only=True, forbid_unknown_fields=True):
    """Which policy learns and decides in a slot, and how often it publishes what it learned.

    ``params`` are the policy's own (see ``docs/reference/policies.md``). A snapshot is published
    after ``publish_rewards`` rewards or ``publish_interval`` seconds of event time.
    """

    kind: Name = "beta"
    params: dict[str, Any] = field(default_factory=dict)
    publish_rewards: Annotated[int, Meta(ge=1, le=bounds.MOST_PUBLISH_REWARDS)] = 50
    publish_interval: Annotated[float, Meta(gt=0.0, le=bounds.LONGEST_PUBLISH_INTERVAL)] = 0.25


class Holdout(Struct, kw_only=True, forbid_unknown_fields=True):
    """The share of traffic that is decided uniformly at random, as the yardstick of the policy.

    ``unit`` says what is held out: single decisions (the logged propensity is the mixture's) or
    whole subjects (it is the probability given the subject's group).
    """

    share: Probability = 0.0
    unit: Literal["decision", "subject"] = "decision"


class Interaction(Struct, frozen=True, forbid_unknown_fields=True):
    """A product of two declared features, hashed into its own buckets."""

    left: Annotated[str, Meta(max_length=2 * bounds.ID_LENGTH)]
    right: Annotated[str, Meta(max_length=2 * bounds.ID_LENGTH)]


class AutoFeatures(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """How the JSON of a context and of actions becomes a sparse vector without a declaration.

    The vector has ``2 ** bits`` columns. ``crosses`` are the pairs of a context's and an action's
    namespace whose features are multiplied (None: every pair), ``ignore`` the namespaces that are
    left out, ``context_alone`` whether a context's features also count by themselves. Of a context
    and of an action ``most_features`` count, of their products ``most_crossed``. Where every pair
    is multiplied, the products of each two of a context's features count as its features too, if
    a row has no more than ``context_products`` products then. With ``scale`` a number beyond ±1
    counts by its logarithm.
    """

    bits: Annotated[int, Meta(ge=bounds.LEAST_BUCKET_BITS, le=bounds.MOST_BUCKET_BITS)] = 18
    crosses: Annotated[list[tuple[Name, Name]], Meta(max_length=bounds.MOST_CROSSES)] | None = None
    ignore: Annotated[list[Name], Meta(max_length=bounds.MOST_IGNORED)] = field(
        default_factory=list
    )
    context_alone: bool = True
    most_features: Annotated[int, Meta(ge=1, le=bounds.MOST_UNDECLARED_FEATURES)] = 1024
    most_crossed: Annotated[int, Meta(ge=0, le=bounds.MOST_CROSSED_FEATURES)] = 4096
    context_products: Annotated[int, Meta(ge=0, le=bounds.MOST_CROSSED_FEATURES)] = 256
    scale: bool = True


class FeatureSpec(Struct, kw_only=True, forbid_unknown_fields=True):
    """How the context and the profile of a request become a vector.

    ``numeric`` fields pass as numbers; with ``scale`` the policy sees them, and those of
    ``profile``, at zero mean and unit variance by what it has learned. ``vectors`` are fields that
    hold lists of that many numbers, ``categories`` are one-hot over the listed values (an unlisted
    one is "other"), ``hashed`` are one-hot over that many hash buckets. ``profile`` names numeric
    profile features. An empty spec means that the slot has no context. ``auto`` takes the JSON of
    context and actions without any of these.
    """

    numeric: Names = field(default_factory=list)
    vectors: dict[Name, VectorLength] = field(default_factory=dict)
    categories: dict[Name, Names] = field(default_factory=dict)
    hashed: dict[Name, Annotated[int, Meta(ge=2, le=65536)]] = field(default_factory=dict)
    profile: Names = field(default_factory=list)
    profile_embedding: Annotated[int, Meta(ge=0, le=bounds.LONGEST_VECTOR)] = 0
    interactions: Annotated[list[Interaction], Meta(max_length=bounds.MOST_INTERACTIONS)] = field(
        default_factory=list
    )
    interaction_buckets: Annotated[int, Meta(ge=2, le=65536)] = 64
    time_of_day: bool = False
    scale: bool = False
    auto: AutoFeatures | None = None


class SubjectLimit(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """How many decisions of one subject a slot learns from in each ``window`` of seconds.

    They are the first ``decisions`` by the end of their reward windows. Windows follow one another
    from 1970 on.
    """

    enabled: bool = True
    decisions: LimitedDecisions = 30
    window: LimitWindow = 3600.0


class RobotRate(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """How many decisions of one subject a slot believes a person to ask for in a ``window``.

    With more of them, none of that window's teaches. A window is as long as the slot's reward
    window at most.
    """

    enabled: bool = True
    decisions: LimitedDecisions = 100
    window: LimitWindow = 60.0


class Slot(CatalogRecord, kw_only=True, tag="slot"):
    """A place on a page, with how it decides, attributes and learns.

    ``candidates`` says where what it may show comes from: the ``catalog``, which a request's list
    narrows, or the ``request``, whose list is taken but for what the catalog keeps from the slot.
    ``reward_window`` is in seconds from the decision, its end included. ``needs_impression``: a
    decision counts only once it was shown (``viewable_only``: and reported viewable).
    ``reward_range`` is the declared range of reward values, rescaled to [0, 1] for learning,
    ``default_reward`` included. ``slate_size`` is the number of actions shown without repetition.
    ``subject_limit`` and ``robot_rate`` say which decisions do not teach. With ``log_candidates``
    a decision holds the features that came with its request of all candidates, not only of what
    is shown. Each eligible action has at least the probability ``floor``, and all together have
    ``floor_mass`` that is spread evenly.
    """

    slot_id: Id
    candidates: Literal["catalog", "request"] = "catalog"
    policy: PolicySettings = field(default_factory=PolicySettings)
    features: FeatureSpec = field(default_factory=FeatureSpec)
    item_features: Annotated[list[Name], Meta(max_length=bounds.MOST_ITEM_FEATURES)] = field(
        default_factory=list
    )
    reward_window: RewardWindow = 600.0
    learning_mode: LearningMode = "immediate"
    reward_aggregation: Literal["first", "sum", "max"] = "first"
    default_reward: RewardValue = 0.0
    click_reward: RewardValue = 1.0
    reward_range: tuple[RewardValue, RewardValue] = (0.0, 1.0)
    needs_impression: bool = True
    viewable_only: bool = False
    click_without_impression: Literal["count", "quarantine"] = "count"
    floor: Annotated[float, Meta(ge=0.0, lt=1.0)] = 0.0
    floor_mass: Annotated[float, Meta(ge=0.0, lt=1.0)] = 0.0
    holdout: Holdout = field(default_factory=Holdout)
    baseline_action_id: Name | None = None
    slate_size: Annotated[int, Meta(ge=1, le=bounds.MOST_POSITIONS)] = 1
    subject_limit: SubjectLimit = SubjectLimit()
    robot_rate: RobotRate = RobotRate()
    log_candidates: bool = False


class Neighbour(Struct, frozen=True, forbid_unknown_fields=True):
    """An action with a similar content vector; ``similarity`` is the cosine."""

    action_id: Id
    similarity: Annotated[float, Meta(gt=0.0, le=1.0)]


class Action(CatalogRecord, kw_only=True, tag="action"):
    """A content variant that the listed slots may show.

    ``features`` describe it to the policies (numbers, lists of numbers or categories);
    ``embedding`` is its content vector; ``neighbours`` are what a policy's parameter of that name
    is about: None says nothing of them, so that who publishes the record may add some; an empty
    list says that there are none.
    """

    action_id: Id
    slots: Annotated[list[Id], Meta(max_length=bounds.MOST_NAMES)]
    features: Annotated[dict[Name, Any], Meta(max_length=bounds.MOST_ACTION_FEATURES)] = field(
        default_factory=dict
    )
    embedding: Annotated[list[float], Meta(max_length=bounds.LONGEST_VECTOR)] | None = None
    neighbours: Annotated[list[Neighbour], Meta(max_length=100)] | None = None
    content: Any = None
    enabled: bool = True


class Variation(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """One of the things that an experiment compares: actions, a policy, or the slot as it is.

    ``weight`` is its part of the traffic beside the others' weights. One that is not ``enabled`` is
    pulled: whoever was to get it gets the baseline at once, and enters no score.
    """

    id: Id
    weight: Weight = 1
    actions: Annotated[list[Id], Meta(max_length=bounds.MOST_NAMES)] | None = None
    policy: PolicySettings | None = None
    enabled: bool = True


class Experiment(CatalogRecord, kw_only=True, tag="experiment"):
    """A comparison of variations in a slot: who gets what, what is measured, and what follows.

    ``baseline`` is the variation that the others are compared with, and that is shown to whoever
    the experiment is about but does not count: beyond the ``layer``'s range or the share of the
    ``ramp``, without the consent that ``unit`` ``subject`` needs, or while it is paused or stopped.
    Everybody is included where there is no ramp. ``floor`` is the least share of each variation of
    a bandit split. ``evaluation_share`` of the units judge the policies that decide, and do not
    train them. ``winner`` is what a ``decided`` experiment shows, None: the baseline stays.
    ``version`` rises with each record, ``change`` says how it came, ``proposal`` what waits for
    approval. ``enabled`` False is as if it were paused.

    Variations as an object of shares are those of a record of earlier releases: it is a draft.
    """

    experiment_id: Id
    slot_id: Id
    state: State = "draft"
    mode: Mode = "fixed"
    unit: Unit = "subject"
    variations: (
        Annotated[list[Variation], Meta(max_length=bounds.MOST_VARIATIONS)]
        | Annotated[dict[Name, Probability], Meta(max_length=bounds.MOST_NAMES)]
    ) = field(default_factory=list)
    baseline: Name | None = None
    layer: Layer | None = None
    targeting: Targeting = Targeting()
    starts_at: Time | None = None
    ends_at: Time | None = None
    ramp: Annotated[list[RampStep], Meta(max_length=bounds.MOST_RAMP_STEPS)] = field(
        default_factory=list
    )
    floor: Annotated[float, Meta(ge=0.0, le=0.5)] = 0.1
    gates: Gates = Gates()
    metrics: Annotated[list[Metric], Meta(max_length=bounds.MOST_METRICS)] = field(
        default_factory=list
    )
    evaluation_share: Probability = 0.0
    automatic: AutomaticActions = AutomaticActions()
    winner: Name | None = None
    version: Annotated[int, Meta(ge=0, le=bounds.GREATEST_EXPERIMENT_VERSION)] = 0
    change: Change | None = None
    proposal: Proposal | None = None
    enabled: bool = True


CatalogEntry = Slot | Action | Experiment
