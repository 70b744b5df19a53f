"""What a catalog record says that achieves nothing beside the rest of it: notes for its author.

A flow takes such records all the same; ``banditflow catalog check`` and ``publish`` say the notes,
and refuse what can only be a mistake.
"""

from collections.abc import Iterator, Sequence, Set
from difflib import get_close_matches
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

import msgspec

from operators.logic.catalog import Catalog, CatalogHistory
from operators.logic.catalog_choices import without_choice
from operators.logic.catalog_limits import AT_LAST
from operators.logic.experiments import effects
from operators.logic.features.feature_counts import count_columns
from operators.logic.features.layout import layout
from operators.logic.slot_policy import USES_ITEM_FEATURES
from operators.logic.subjects.profiles import PROFILE_FEATURES, is_profile_feature
from schemas.catalog import (
    Action,
    AutoFeatures,
    CatalogEntry,
    Experiment,
    FeatureSpec,
    RobotRate,
    Slot,
)
from schemas.codec import Flaw

_WITHOUT_CONTEXT = frozenset({"beta", "uniform", "split"})
"""The kinds of policy that do not look at features."""

_ITERATIONS = {"logistic": 2, "gaussian": 0}
"""The kinds with a prior that is learned, and how many iterations of that they have by default."""


class Note(NamedTuple):
    """A field that changes nothing, of what, and why; no field: the whole record."""

    field: str
    about: str
    why: str

    def __str__(self) -> str:
        return ": ".join(filter(None, (self.about, self.field, self.why)))


def mistake_of(entry: CatalogEntry) -> Flaw | None:
    """Say what a record asks for that its other fields make impossible; None where nothing is.

    >>> from schemas.clock import moment
    >>> mistake_of(Slot(id="1", time=moment(0), slot_id="home", click_reward=5.0)).field
    'click_reward'
    """
    if not isinstance(entry, Slot) or entry.deleted:
        return None
    low, high = entry.reward_range
    if not low <= entry.click_reward <= high:
        return Flaw("invalid_value", "click_reward", "lies outside reward_range, and would be cut")
    return None


def misspelt(record: bytes, entry: CatalogEntry) -> Iterator[tuple[str, str | None]]:
    """Name the fields of a record's JSON that no such record has, each with the one it resembles.

    >>> from schemas.clock import moment
    >>> slot = Slot(id="1", time=moment(0), slot_id="home")
    >>> list(misspelt(b'{"type": "slot", "flor": 0.1, "owner": "shop"}', slot))
    [('flor', 'floor'), ('owner', None)]
    """
    known = {"type", *(field.encode_name for field in msgspec.structs.fields(entry))}
    for name in msgspec.json.decode(record, type=dict[str, msgspec.Raw]):
        if name not in known:
            near = get_close_matches(name, known, 1, 0.75)
            yield name, near[0] if near else None


def without_effect(entries: Sequence[CatalogEntry], history: CatalogHistory) -> list[str]:
    """Say which fields of the records change nothing; ``history`` is that which they are part of.

    Of many notes on one field the first is given, and the others are counted.
    """
    catalog = history.as_of(AT_LAST)
    known = {name for kind, name in history.versions if kind == "action"}
    living = [entry for entry in entries if not entry.deleted]
    notes = [note for entry in living for note in _notes(entry, catalog, known)]
    said = []
    for _, group in groupby(sorted(notes, key=itemgetter(0)), key=itemgetter(0)):
        first, *others = group
        said.append(f"{first} ({len(others)} more like it)" if others else str(first))
    return said


def _notes(entry: CatalogEntry, catalog: Catalog, known: Set[str]) -> Iterator[Note]:
    match entry:
        case Slot():
            about = f"slot {entry.slot_id}"
            found = (*_of_slot(entry), *_of_features(entry.features), *_of_names(entry, catalog))
        case Action():
            about, found = f"action {entry.action_id}", tuple(_of_action(entry, catalog, known))
        case Experiment():
            about = f"experiment {entry.experiment_id}"
            found = tuple(effects.without_effect(entry, catalog))
    for field, why in found:
        yield Note(field, about, why)


def _of_slot(slot: Slot) -> Iterator[tuple[str, str]]:
    kind, given, iterations = slot.policy.kind, slot.policy.params, _iterations(slot)
    if kind in _WITHOUT_CONTEXT and count_columns(slot.features) > 1:
        yield "features", f"logged with decisions, but policy {kind!r} does not decide by them"
    if kind in _WITHOUT_CONTEXT and slot.features.auto is not None:
        yield "features.auto", f"policy {kind!r} does not decide by them"
    if slot.item_features and kind not in USES_ITEM_FEATURES:
        yield "item_features", f"policy {kind!r} does not learn from them"
    elif slot.item_features and iterations == 0:
        yield "item_features", "without iterations no prior is learned from them"
    for name in ("prior_strength", "ridge"):
        if name in given and iterations == 0:
            yield f"policy.params.{name}", "no effect without iterations of the prior"
    if "ridge" in given and iterations and not slot.item_features:
        yield "policy.params.ridge", "no effect without item_features"
    if slot.viewable_only and not slot.needs_impression:
        yield "viewable_only", "matters for deferred requests alone: no other waits to be shown"
    if slot.click_without_impression == "quarantine" and not slot.needs_impression:
        yield "click_without_impression", "matters for deferred requests alone"
    if slot.holdout.unit == "subject" and not slot.holdout.share:
        yield "holdout.unit", "no effect while holdout.share is 0"
    for name in ("floor", "floor_mass"):
        if getattr(slot, name) and kind == "uniform":
            yield name, "no effect: every action has the same probability"
    yield from _of_bounds(slot)


def _of_bounds(slot: Slot) -> Iterator[tuple[str, str]]:
    """Note what a slot says of subjects and robots that bounds nothing."""
    for name, rule in (("subject_limit", slot.subject_limit), ("robot_rate", slot.robot_rate)):
        default = type(rule)()
        for field in ("decisions", "window"):
            if not rule.enabled and getattr(rule, field) != getattr(default, field):
                yield f"{name}.{field}", f"no effect while {name}.enabled is false"
    robots = slot.robot_rate
    if robots.enabled and slot.reward_window < robots.window != RobotRate().window:
        yield "robot_rate.window", "no longer than reward_window, which counts instead"


def _of_features(spec: FeatureSpec) -> Iterator[tuple[str, str]]:
    if spec.scale and not spec.numeric and not spec.profile:
        yield "features.scale", "no effect: there is no number to scale"
    is_set = spec.interaction_buckets != FeatureSpec().interaction_buckets
    if is_set and not any(product.hashed for product in layout(spec).products):
        yield "features.interaction_buckets", "no effect: no interaction is hashed"
    auto = spec.auto or AutoFeatures()
    if auto.crosses == [] and auto.most_crossed != AutoFeatures().most_crossed:
        yield "features.auto.most_crossed", "no effect: no namespaces are crossed"
    if auto.crosses is not None and auto.context_products != AutoFeatures().context_products:
        yield "features.auto.context_products", "no effect beside features.auto.crosses"
    for name in spec.profile:
        if not is_profile_feature(name):
            known = ", ".join(PROFILE_FEATURES)
            yield "features.profile", f"{name!r} is always 0: a profile has {known}, affinity.…"


def _of_names(slot: Slot, catalog: Catalog) -> Iterator[tuple[str, str]]:
    actions, last = catalog.actions.get(slot.slot_id, ()), catalog.slots.get(slot.slot_id)
    if slot.candidates == "catalog":
        if not actions and last is not None and last.candidates == "catalog":
            yield "candidates", "no enabled action lists the slot: it shows nothing without one"
        yield from _of_unlisted(slot, {action.action_id for action in actions})
    for name in slot.item_features:
        if actions and not any(_has(action, name) for action in actions):
            yield "item_features", f"no action of the slot has a feature {name!r}"
    yield from without_choice(slot, actions)


def _of_unlisted(slot: Slot, ids: Set[str]) -> Iterator[tuple[str, str]]:
    if slot.baseline_action_id is not None and slot.baseline_action_id not in ids:
        yield "baseline_action_id", f"{slot.baseline_action_id!r} is no enabled action of the slot"
    shares = slot.policy.params.get("shares")
    for name in shares if isinstance(shares, dict) else ():
        if name not in ids:
            yield "policy.params.shares", f"{name!r} is no enabled action of the slot"


def _of_action(action: Action, catalog: Catalog, known: Set[str]) -> Iterator[tuple[str, str]]:
    if action.enabled and not action.slots:
        yield "slots", "it lists none: nothing shows it"
    for name in action.slots:
        if name not in catalog.slots:
            yield "slots", f"there is no slot {name!r}"
    users = [catalog.slots[name] for name in action.slots if name in catalog.slots]
    if action.neighbours and not any(slot.policy.params.get("neighbours") for slot in users):
        yield "neighbours", "no policy of its slots has a parameter `neighbours` above 0"
    for neighbour in action.neighbours or ():
        if neighbour.action_id not in known:
            yield "neighbours", f"there never was an action {neighbour.action_id!r}"


def _iterations(slot: Slot) -> int | None:
    """Give the iterations of the policy's prior; None where it has none to learn."""
    default = _ITERATIONS.get(slot.policy.kind)
    return None if default is None else int(slot.policy.params.get("iterations", default))


def _has(action: Action, name: str) -> bool:
    return name in action.features or (name == "embedding" and action.embedding is not None)
