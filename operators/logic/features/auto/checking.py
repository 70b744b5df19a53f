"""What settings of features without a declaration contradict each other, or the rest of a slot."""

import msgspec

from schemas.catalog import FeatureSpec, Slot

_DECLARES = frozenset({"logistic", "gaussian", "greedy", "diagonal"})
"""The kinds of policy that learn from declared features alone."""


def auto_flaw(slot: Slot) -> tuple[str, str] | None:
    """Name the field that is wrong about a slot's features without a declaration, and why.

    None where none is.

    >>> from schemas.catalog import AutoFeatures
    >>> from schemas.clock import moment
    >>> spec = FeatureSpec(numeric=["age"], auto=AutoFeatures())
    >>> auto_flaw(Slot(id="1", time=moment(0), slot_id="home", features=spec))
    ('features.auto', 'cannot be combined with features.numeric')
    """
    auto = slot.features.auto
    if slot.policy.kind == "shared":
        if auto is None:
            return "features.auto", "is missing: policy 'shared' needs it, such as {\"auto\": {}}"
        if slot.floor > 0.0:
            return "floor", "policy 'shared' takes floor_mass: its candidates may be any number"
    if auto is None:
        return None
    declared = FeatureSpec()
    for field in msgspec.structs.fields(FeatureSpec):
        given = getattr(slot.features, field.name) != getattr(declared, field.name)
        if given and field.name != "auto":
            return "features.auto", f"cannot be combined with features.{field.encode_name}"
    if slot.policy.kind in _DECLARES:
        return "features.auto", f"policy {slot.policy.kind!r} learns from declared features alone"
    for place, pair in enumerate(auto.crosses or ()):
        if pair in (auto.crosses or ())[:place]:
            return f"features.auto.crosses[{place}]", "the pair is listed twice"
        for name in pair:
            if name in auto.ignore:
                return f"features.auto.crosses[{place}]", f"{name!r} is in features.auto.ignore"
    return None
