"""Which actions may be shown for a request: by its slot, the catalog, and the request itself."""

from collections.abc import Sequence
from typing import cast

from operators.logic.catalog import Catalog
from schemas.events import DecisionRequest, RankableAction


def eligible_actions(request: DecisionRequest, catalog: Catalog) -> list[str] | None:
    """Name the actions that may be shown, or None where all may that the catalog shows in the slot.

    A slot whose candidates are the catalog's shows its enabled actions, which a request's list
    narrows and never widens. One that takes them from the request shows those on its list that the
    catalog knows nothing of or shows there: what is disabled, deleted or listed for other slots
    alone is taken out. ``excluded`` is taken out of both. An empty list: nothing may be shown.

    >>> from schemas.catalog import Slot
    >>> from schemas.clock import moment
    >>> slot = Slot(id="1", time=moment(0), slot_id="feed", candidates="request")
    >>> catalog = Catalog({"feed": slot}, {"feed": ()}, known_actions=frozenset(["disabled"]))
    >>> request = DecisionRequest(
    ...     id="r", time=moment(0), subject="s", slot_id="feed", actions=["disabled", "new"]
    ... )
    >>> eligible_actions(request, catalog)
    ['new']
    """
    listed = catalog.actions[request.slot_id]
    asked = None if request.actions is None else asked_ids(request.actions)
    if catalog.slots[request.slot_id].candidates == "request":
        kept_out = catalog.known_actions
        if not kept_out.isdisjoint(asked or ()):
            kept_out = kept_out.difference([action.action_id for action in listed])
        names = [name for name in dict.fromkeys(asked or ()) if name not in kept_out]
    elif asked is None and not request.excluded and listed:
        return None
    else:
        names = [action.action_id for action in listed]
        if asked is not None:
            shown = set(names)
            names = [name for name in dict.fromkeys(asked) if name in shown]
    excluded = set(request.excluded)
    return [name for name in names if name not in excluded]


def asked_ids(actions: Sequence[str | RankableAction]) -> Sequence[str]:
    """Name the actions of a request's list.

    >>> asked_ids(["a", RankableAction(id="b")])
    ['a', 'b']
    """
    if RankableAction not in map(type, actions):
        return cast("Sequence[str]", actions)
    return [each if isinstance(each, str) else each.id for each in actions]
