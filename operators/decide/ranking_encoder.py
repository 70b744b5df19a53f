"""Rankings of decisions as JSON: every eligible action, or as many as fit into the record."""

from collections.abc import Iterator, Sequence

import numpy as np
import orjson
from msgspec import Struct
from msgspec.json import Encoder
from numpy.typing import NDArray

from operators.logic.deciding.propensity import NO_ACTION
from operators.logic.deciding.selection import Floats, Selection

NUMBER_BYTES = 25
"""The longest number as JSON, and the comma after it."""

_write = Encoder().encode


class Rankings(Struct, frozen=True, eq=False):
    """The rankings of n requests as JSON, and what they leave out.

    ``left_out`` [n] counts the actions that a ranking leaves out, ``mass_left_out`` [n] is the sum
    of their probabilities; both are None where none of the rankings leaves anything out.
    """

    texts: list[bytes]
    left_out: NDArray[np.intp] | None = None
    mass_left_out: Floats | None = None


def rankings(selection: Selection, room: int) -> Rankings:
    """Write each request's eligible actions and probabilities in at most ``room`` bytes.

    They stand in the catalog's order. Where there is not enough room for all, the least probable
    are left out, but never one that is shown.
    """
    places = [
        b'{"action_id":%b,"probability":%%b}' % _literal(name) for name in selection.action_ids
    ]
    whole = b"[%b]" % b",".join(places)
    if len(whole) + NUMBER_BYTES * len(places) <= room:
        return Rankings(list(_whole(selection, places, whole)))
    sizes = np.array([len(place) + NUMBER_BYTES for place in places])
    texts, left_out = [], np.zeros(len(selection.logged), np.intp)
    mass_left_out = np.zeros(len(selection.logged))
    for row, logged in enumerate(selection.logged):
        eligible = _eligible(selection, row)
        listed = _most_probable(logged, eligible, sizes, shown_columns(selection, row), room)
        text = b"[%b]" % b",".join([places[column] for column in listed.tolist()])
        texts.append(text % tuple(_numbers(logged[listed])))
        left_out[row] = len(eligible) - len(listed)
        mass_left_out[row] = logged[np.setdiff1d(eligible, listed, assume_unique=True)].sum()
    return Rankings(texts, left_out, mass_left_out) if left_out.any() else Rankings(texts)


def _whole(selection: Selection, places: Sequence[bytes], whole: bytes) -> Iterator[bytes]:
    numbers = orjson.dumps(selection.logged, option=orjson.OPT_SERIALIZE_NUMPY)
    texts = numbers[2:-2].split(b"],[")
    if selection.mask is None:
        for text in texts:
            yield whole % tuple(text.split(b","))
        return
    known: dict[bytes, tuple[list[int], bytes]] = {}
    for text, eligible in zip(texts, selection.mask, strict=True):
        alike = eligible.tobytes()
        found = known.get(alike)
        if found is None:
            columns = eligible.nonzero()[0].tolist()
            record = b"[%b]" % b",".join([places[column] for column in columns])
            found = known[alike] = columns, record
        columns, record = found
        probabilities = text.split(b",")
        yield record % tuple([probabilities[column] for column in columns])


def _most_probable(
    logged: Floats,
    eligible: NDArray[np.intp],
    sizes: NDArray[np.intp],
    shown: NDArray[np.intp],
    room: int,
) -> NDArray[np.intp]:
    """Choose the columns that fit: those shown, then the most probable; in the catalog's order."""
    others = np.setdiff1d(eligible, shown, assume_unique=True)
    others = others[np.argsort(-logged[others], kind="stable")]
    ends = np.cumsum(sizes[others]) + sizes[shown].sum() + len(b"[]")
    return np.sort(np.concatenate([shown, others[ends <= room]]))


def _eligible(selection: Selection, row: int) -> NDArray[np.intp]:
    if selection.mask is None:
        return np.arange(len(selection.action_ids))
    return np.asarray(selection.mask[row].nonzero()[0])


def shown_columns(selection: Selection, row: int) -> NDArray[np.intp]:
    """Give the columns of what a request is shown, the first position first."""
    if selection.slates is None:
        return selection.chosen[row : row + 1]
    shown = selection.slates.chosen[row]
    return np.asarray(shown[shown != NO_ACTION])


def _literal(value: str) -> bytes:
    """Write a text to stand in a record that is to be filled in."""
    return _write(value).replace(b"%", b"%%")


def _numbers(values: Floats) -> list[bytes]:
    return _write(values.tolist())[1:-1].split(b",") if len(values) else []
