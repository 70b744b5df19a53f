"""What a publication changes, for people: a line for each slot and action, and a sum."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from operators.logic.catalog_contents import changed_fields
from operators.logic.entry_publication import Change
from operators.logic.publication import Publication
from schemas.clock import moment

MOST_LINES: Final = 50
"""Changes that are printed, what loses most first; the rest is counted."""

_MOST_FIELDS, _LONGEST = 5, 40
_LEAD: Final = 12
"""Characters that are shown before those in which two long values differ."""

_ANEW: Final = f"{'':<9} its policy begins anew: what it has learned is left behind"
_VIEW: Final = f"{'':<9} what it has learned decides until it has learned enough like this"
_ORDER: Final = ("removed", "added", "changed", "unchanged")


def describe(publication: Publication) -> Iterator[str]:
    """Give the lines, what loses what it learned first and what stays last, and the sum."""
    changes = sorted(publication.changes, key=_by_loss)
    for change in changes[:MOST_LINES]:
        yield _line(change)
        if change.begins_anew:
            yield _ANEW
        elif change.begins_view:
            yield _VIEW
    if len(changes) > MOST_LINES:
        yield f"… and {len(changes) - MOST_LINES} more"
    counts = Counter(change.kind for change in changes)
    yield ", ".join(
        f"{counts[kind]} {kind}" for kind in ("added", "changed", "removed", "unchanged")
    )
    if publication.not_named:
        verb = "stays" if publication.not_named == 1 else "stay"
        yield f"{publication.not_named} not named in the file {verb}"


def notes(publication: Publication) -> Iterator[str]:
    """Say what was asked for and is not part of it."""
    if publication.outdated:
        kind, name = publication.outdated[0]
        more = f" and {len(publication.outdated) - 1} more" if publication.outdated[1:] else ""
        yield (
            f"{kind} {name}{more}: earlier versions in the file are left out: what was before now "
            "stays as it was"
        )


def _by_loss(change: Change) -> tuple[bool, bool, int]:
    return not change.begins_anew, not change.begins_view, _ORDER.index(change.kind)


def _line(change: Change) -> str:
    words = [f"{change.kind:<9}", *change.identity]
    if change.at is not None:
        words.append(f"from {_time(change.at)} on")
    if change.instead:
        words.append("in place of what was to hold from then on")
    line = " ".join(words)
    if change.kind == "changed" and change.before is not None and change.after is not None:
        line += f": {_fields(changed_fields(change.before, change.after))}"
    return line


def _fields(fields: dict[str, tuple[Any, Any]]) -> str:
    shown = [
        " ".join((name, *_told_apart(before, after)))
        for name, (before, after) in list(fields.items())[:_MOST_FIELDS]
    ]
    if len(fields) > _MOST_FIELDS:
        shown.append(f"{len(fields) - _MOST_FIELDS} more fields")
    return ", ".join(shown)


def _told_apart(before: Any, after: Any) -> tuple[str, str, str]:
    """Write two values that differ; of long ones the part where they do."""
    was, is_ = (msgspec.json.encode(value).decode() for value in (before, after))
    pairs = enumerate(zip(was, is_, strict=False))
    differs = next((place for place, (a, b) in pairs if a != b), min(len(was), len(is_)))
    return _part(was, differs), "→", _part(is_, differs)


def _part(text: str, differs: int) -> str:
    if len(text) <= _LONGEST:
        return text
    start = differs - _LEAD if differs > _LONGEST - _LEAD else 0
    head, room = ("…", _LONGEST - 1) if start else ("", _LONGEST)
    rest = text[start:]
    return head + (rest if len(rest) <= room else f"{rest[: room - 1]}…")


def _time(at: int) -> str:
    return moment(at).isoformat().replace("+00:00", "Z")
