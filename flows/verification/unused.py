"""Which events attribution could not use, as their dead letters say, so that nobody else may."""

from collections.abc import Mapping, Sequence

from flows.verification.reading import TopicOffset
from operators.envelope import Event
from operators.io.releases import PROCESSING_ERROR
from operators.logic.attribution import reasons as attribution_reasons

UNUSED = frozenset(
    {
        attribution_reasons.LATE,
        attribution_reasons.NO_DECISION,
        attribution_reasons.ORPHAN_OVERFLOW,
        attribution_reasons.UNKNOWN_SLOT,
        attribution_reasons.INVALID_DECISION,
        PROCESSING_ERROR,
    }
)
"""Reasons of dead letters for events that a recomputation cannot know to be of no use."""

_REPEATS = frozenset(
    {attribution_reasons.DUPLICATE_WAITING, attribution_reasons.CONFLICTING_REWARD}
)
"""Reasons for events refused in favour of another one with their id: of no use if that is not."""


def without_unused(events: Sequence[Event], reasons: Mapping[TopicOffset, str]) -> list[Event]:
    """Leave out the events that attribution could not use, and the repeats of such.

    ``reasons`` are those of dead letters. A repeat of one that was used is left in: it changes
    nothing but the number of records that named the decision.
    """
    usable, repeats, unused = list[Event](), list[Event](), set[tuple[str, int, str]]()
    for event in events:
        reason = reasons.get((event.origin.topic, event.origin.offset))
        if reason in UNUSED:
            unused.add(_name(event))
        elif reason in _REPEATS:
            repeats.append(event)
        else:
            usable.append(event)
    return usable + [event for event in repeats if _name(event) not in unused]


def _name(event: Event) -> tuple[str, int, str]:
    return event.origin.topic, event.key, event.body.id
