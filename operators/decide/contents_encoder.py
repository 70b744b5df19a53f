"""The features that requests gave to actions, as JSON of decisions: of what is shown, or of all."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from msgspec import Struct
from msgspec.json import Encoder
from numpy.typing import NDArray

from operators.decide.ranking_encoder import NUMBER_BYTES, shown_columns
from operators.logic.deciding.contents import ActionContent
from operators.logic.deciding.selection import Selection
from schemas.bounds import ESCAPED_CHARACTER, ID_LENGTH

Contents = Mapping[str, ActionContent] | None
"""What one request says of its actions, by id."""

_LONGEST_PLACE = len(b'{"action_id":"","probability":},') + ID_LENGTH * ESCAPED_CHARACTER
"""The most bytes of an action in a ranking, beside its probability: what is shown stands there."""

_write = Encoder().encode


class LoggedContents(Struct, frozen=True):
    """The features that n decisions hold, an entry of JSON for each action, and what they lack.

    ``left_out`` [n] counts the actions whose features had no room.
    """

    entries: list[list[bytes]]
    left_out: list[int]

    @property
    def longest(self) -> int:
        """The bytes of the largest of them."""
        return max(map(size_of, self.entries), default=0)

    def written(self) -> list[bytes]:
        """Write the field's value for each decision."""
        return [b"[%b]" % b",".join(each) if each else b"null" for each in self.entries]


def size_of(entries: Iterable[bytes]) -> int:
    """Count the bytes of entries as a JSON list, the name of its field and its count included."""
    return len(b'"contents":[],"contents_left_out":1000,') + sum(len(each) + 1 for each in entries)


def shown_contents(selection: Selection, contents: Sequence[Contents], room: int) -> LoggedContents:
    """Give the features of what each request is shown, in at most ``room`` bytes with its ranking.

    Those of the first action always have room; of a slate, positions whose features find none are
    left out.
    """
    entries, left_out = [], []
    for row, of_request in enumerate(contents):
        shown = shown_columns(selection, row).tolist()
        places = len(shown) * (_LONGEST_PLACE + NUMBER_BYTES)
        first = _entries(selection, shown[:1], of_request)
        rest = _entries(selection, shown[1:], of_request)
        taken, lacking = _fitting(list(first), rest, room - places)
        entries.append(taken)
        left_out.append(lacking)
    return LoggedContents(entries, left_out)


def with_candidates(
    shown: LoggedContents,
    selection: Selection,
    contents: Sequence[Contents],
    rankings: Sequence[bytes],
    room: int,
) -> LoggedContents:
    """Add the features of the other candidates, the most probable first, beside the rankings.

    What finds no room there is left out: of a decision it is the first that goes.
    """
    column = {name: place for place, name in enumerate(selection.action_ids)}
    entries, left_out = [], []
    for row, of_request in enumerate(contents):
        others = _others(selection, row, of_request, column)
        more = _entries(selection, others.tolist(), of_request)
        taken, lacking = _fitting(list(shown.entries[row]), more, room - len(rankings[row]))
        entries.append(taken)
        left_out.append(shown.left_out[row] + lacking)
    return LoggedContents(entries, left_out)


def _fitting(taken: list[bytes], more: Iterable[bytes], room: int) -> tuple[list[bytes], int]:
    """Add what has room, and count what has none."""
    size, lacking = size_of(taken), 0
    for entry in more:
        if size + len(entry) + 1 > room:
            lacking += 1
            continue
        size += len(entry) + 1
        taken.append(entry)
    return taken, lacking


def _entries(selection: Selection, columns: Iterable[int], contents: Contents) -> Iterator[bytes]:
    names = selection.action_ids
    for column in columns if contents else ():
        assert contents is not None
        content = contents.get(names[column])
        if content is not None:
            yield b'{"action_id":%b,"features":%b}' % (_write(names[column]), content.text)


def _others(
    selection: Selection, row: int, contents: Contents, column: Mapping[str, int]
) -> NDArray[np.intp]:
    """Give the columns of what is not shown and has features, the most probable first."""
    named = np.array([column[name] for name in contents or () if name in column], dtype=np.intp)
    columns = np.setdiff1d(named, shown_columns(selection, row))
    return columns[np.argsort(-selection.logged[row][columns], kind="stable")]
