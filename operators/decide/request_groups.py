"""Groups of requests that are scored together: joined, cut, and their candidates."""

from collections.abc import Iterable, Mapping, Sequence

from msgspec import structs

from operators.decide.admission import RequestGroup
from operators.logic.deciding.contents import ActionContent

MOST_CELLS = 1_000_000
"""Requests times actions that are scored at once: a matrix of numbers takes 8 MB."""

FEW_CELLS = 20_000
"""So many are scored at once even where most of them are no candidates of their requests."""

MOST_JOINT_CANDIDATES = 16_384
"""Candidates whose scores are held at once, where one model scores all of them: a factor of up to
512 numbers for each."""


def joined(groups: list[RequestGroup]) -> RequestGroup:
    """Join groups of one slot, policy version and revision of the catalog."""
    first = groups[0]
    if len(groups) == 1:
        return first
    return RequestGroup(
        slot=first.slot,
        actions=first.actions,
        revision=first.revision,
        policy=first.policy,
        events=[event for each in groups for event in each.events],
        eligible=[names for each in groups for names in each.eligible],
        request_hashes=[hash_ for each in groups for hash_ in each.request_hashes],
        contents=_joined_contents(groups),
        dividing=first.dividing,
    )


def _joined_contents(groups: list[RequestGroup]) -> list[Mapping[str, ActionContent] | None]:
    if not any(each.contents for each in groups):
        return []
    return [contents for each in groups for contents in each.contents or [None] * len(each.events)]


def in_parts(group: RequestGroup) -> Iterable[RequestGroup]:
    """Cut a group so that its requests times the actions that any of them may get are bounded.

    Where each request brings candidates of its own, scoring would otherwise cost the square of
    their number: no more than twice the candidates are scored, where they are many.
    """
    known = 0 if takes_requested(group) else len(group.actions)
    if known and known * len(group.events) <= MOST_CELLS:
        yield group
        return
    start, names, candidates = 0, set[str](), 0
    for place, eligible in enumerate(group.eligible):
        if not known:
            names.update(eligible or ())
            candidates += len(eligible or ())
        most = MOST_CELLS if known else min(MOST_CELLS, max(FEW_CELLS, 2 * candidates))
        if place > start and (place + 1 - start) * (known or len(names)) > most:
            yield cut(group, start, place)
            start, names = place, set(eligible or ())
            candidates = len(names)
    yield group if start == 0 else cut(group, start, len(group.events))


def cut(group: RequestGroup, start: int, stop: int) -> RequestGroup:
    """Give the requests from ``start`` to before ``stop``."""
    return structs.replace(
        group,
        events=group.events[start:stop],
        eligible=group.eligible[start:stop],
        request_hashes=group.request_hashes[start:stop],
        contents=group.contents[start:stop],
        contexts=group.contexts[start:stop],
        assignments=group.assignments[start:stop],
        scenarios=group.scenarios[start:stop],
    )


def in_candidates(group: RequestGroup) -> Iterable[RequestGroup]:
    """Cut a group so that the candidates of its requests are at most so many together."""
    start = candidates = 0
    for place, names in enumerate(group.eligible):
        many = len(group.actions if names is None else names)
        if place > start and candidates + many > MOST_JOINT_CANDIDATES:
            yield cut(group, start, place)
            start, candidates = place, 0
        candidates += many
    yield group if start == 0 else cut(group, start, len(group.events))


def action_ids_of(group: RequestGroup) -> tuple[str, ...]:
    """Give every action that some request of the group may get."""
    if takes_requested(group):
        return tuple(sorted({name for names in group.eligible for name in names or ()}))
    return tuple(action.action_id for action in group.actions)


def names_of(group: RequestGroup) -> list[Sequence[str]]:
    """Give each request's candidates, in the order of :func:`action_ids_of`."""
    if takes_requested(group):
        return [sorted(set(names or ())) for names in group.eligible]
    every = action_ids_of(group)
    if all(names is None for names in group.eligible):
        return [every] * len(group.eligible)
    place = {name: number for number, name in enumerate(every)}
    return [
        every if names is None else sorted(set(names), key=place.__getitem__)
        for names in group.eligible
    ]


def takes_requested(group: RequestGroup) -> bool:
    """Tell whether requests bring candidates that the slot's catalog does not have."""
    return group.slot.candidates == "request"
