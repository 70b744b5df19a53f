"""The demo's catalog: a slot with its content variants, and one whose requests bring articles."""

from datetime import UTC, datetime

from flows.devkit.visitors import (
    CATEGORIES,
    DEVICES,
    FACTORS,
    HOURS,
    OBSERVED,
    REGIONS,
    SEGMENTS,
    Visitors,
    one_hot_names,
)
from schemas.catalog import (
    Action,
    AutoFeatures,
    CatalogEntry,
    FeatureSpec,
    Holdout,
    PolicySettings,
    RobotRate,
    Slot,
    SubjectLimit,
)

SLOT = "home-hero"
ARTICLES = "articles"
DEMO_POLICY = PolicySettings(kind="logistic")
START = datetime(2026, 1, 1, tzinfo=UTC)

TIRELESS = 1_000_000
"""A few thousand simulated visitors do the work of millions: no bound is low enough to be met."""

FEATURES = FeatureSpec(
    vectors={"o": OBSERVED},
    categories={
        "device": list(one_hot_names("d", DEVICES)),
        "geo": list(one_hot_names("g", REGIONS)),
        "hour": list(one_hot_names("h", HOURS)),
        "segment": list(one_hot_names("s", SEGMENTS)),
    },
)
"""The context of :meth:`flows.devkit.visitors.Visitors.context`."""


def demo_catalog(
    seed: int,
    policy: PolicySettings | None = None,
    *,
    actions: int = 20,
    reward_window: float = 10.0,
    holdout: float = 0.1,
    time: datetime = START,
) -> list[CatalogEntry]:
    """Give the slot and its content variants as the visitors of the same seed see them.

    ``policy`` is the slot's (Beta-Bernoulli when None), ``reward_window`` in seconds, ``holdout``
    the share of decisions made uniformly at random. To ``shared`` the same features come without a
    declaration.

    >>> [type(entry).__name__ for entry in demo_catalog(7, actions=2)]
    ['Slot', 'Action', 'Action']
    """
    policy = policy or PolicySettings()
    declares = policy.kind != "shared"
    slot = Slot(
        id=f"slot-{SLOT}",
        time=time,
        slot_id=SLOT,
        policy=policy,
        features=FEATURES if declares else FeatureSpec(auto=AutoFeatures(bits=14)),
        item_features=["style", "category"] if declares else [],
        reward_window=reward_window,
        holdout=Holdout(share=holdout, unit="decision"),
        subject_limit=SubjectLimit(decisions=TIRELESS),
        robot_rate=RobotRate(decisions=TIRELESS),
    )
    features = Visitors(seed, actions).items.features
    return [slot, *(_action(place, row.tolist(), time) for place, row in enumerate(features))]


def articles_slot(
    *, reward_window: float = 10.0, holdout: float = 0.1, time: datetime = START
) -> Slot:
    """Give the slot whose requests bring articles, by features that nobody declared.

    The parameters are those of :func:`demo_catalog`.
    """
    return Slot(
        id=f"slot-{ARTICLES}",
        time=time,
        slot_id=ARTICLES,
        candidates="request",
        policy=PolicySettings(kind="shared", publish_interval=1.0),
        features=FeatureSpec(auto=AutoFeatures()),
        reward_window=reward_window,
        holdout=Holdout(share=holdout, unit="decision"),
        subject_limit=SubjectLimit(decisions=TIRELESS),
        robot_rate=RobotRate(decisions=TIRELESS),
    )


def action_id(place: int) -> str:
    """Name a variant by its place in :class:`flows.devkit.visitors.Items`.

    >>> action_id(3)
    'hero-03'
    """
    return f"hero-{place:02d}"


def _action(place: int, features: list[float], time: datetime) -> Action:
    category = place % CATEGORIES
    style = [round(v, 4) for v in features[:FACTORS]]
    return Action(
        id=f"action-{action_id(place)}",
        time=time,
        action_id=action_id(place),
        slots=[SLOT],
        features={"style": style, "category": f"c{category}"},
        embedding=style,
        content={"title": f"Hero {place}", "category": f"c{category}"},
    )
