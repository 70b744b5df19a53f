"""Whether a catalog record can be used: its features and policy must compile, and it has a use."""

from collections.abc import Iterable

from operators.logic.features import FeatureError, FeatureMap
from operators.logic.policies import PolicyError
from operators.logic.slot_policy import new_policy, policy_dim
from schemas.catalog import CatalogEntry, Experiment, Slot
from schemas.codec import MAX_RECORD_BYTES, Flaw, decode
from schemas.topics import Topic


def read_entry(payload: bytes | None, limit: int = MAX_RECORD_BYTES) -> CatalogEntry | Flaw:
    """Read a record of the catalog topic; one that cannot be used comes back as a flaw."""
    entry: CatalogEntry | Flaw = decode(Topic.CATALOG, payload, limit)
    return entry if isinstance(entry, Flaw) else flaw_of(entry) or entry


def flaw_of(entry: CatalogEntry) -> Flaw | None:
    """Say what is wrong with a catalog record beyond its form; None if nothing is.

    >>> from datetime import UTC, datetime
    >>> from schemas.catalog import PolicySettings
    >>> policy = PolicySettings(kind="beta", params={"half_life": -1})
    >>> slot = Slot(id="1", time=datetime(2026, 1, 1, tzinfo=UTC), slot_id="home", policy=policy)
    >>> flaw_of(slot).field
    'policy'
    """
    if not isinstance(entry, Slot) or entry.deleted:
        return None
    try:
        feature_map = FeatureMap(entry.features)
    except FeatureError as error:
        return Flaw("invalid_value", "features", str(error))
    try:
        new_policy(entry, (), policy_dim(entry, feature_map)).publish()
    except PolicyError as error:
        return Flaw("invalid_value", "policy", str(error))
    return None


def without_effect(entries: Iterable[CatalogEntry]) -> str | None:
    """Say which of the records are kept but change no decision; None where all have an effect.

    >>> from datetime import UTC, datetime
    >>> moment = datetime(2026, 1, 1, tzinfo=UTC)
    >>> without_effect([Experiment(id="1", time=moment, experiment_id="hero", slot_id="home")])
    'experiment hero: kept, but changes nothing yet: no flow divides traffic by experiments'
    """
    names = [e.experiment_id for e in entries if isinstance(e, Experiment) and not e.deleted]
    if not names:
        return None
    subject = f"experiment {names[0]}: kept, but changes"
    if len(names) > 1:
        subject = f"{len(names)} experiments ({names[0]}, …): kept, but change"
    return f"{subject} nothing yet: no flow divides traffic by experiments"
