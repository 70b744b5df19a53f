"""Settled outcomes without a reward, many at once: their JSON is put together by column."""

import binascii
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from operators.envelope import Message
from operators.logic.attribution import reports, texts
from operators.logic.attribution.kinds import Kinds
from operators.logic.attribution.pending import Pending, Rows
from schemas.clock import moment

Bytes = NDArray[np.bytes_]

_TIME: Final = [("second", "S20"), ("milli", "S3"), ("micro", "S3"), ("zone", "S1")]
_THOUSAND: Final = np.array([f"{number:03d}" for number in range(1000)], dtype="S3")
_HEAD: Final = [
    ("time=", "S9"),
    ("time", _TIME),
    ("settled_at=", "S16"),
    ("settled_at", _TIME),
    ("key=", "S9"),
    ("key", "S16"),
    ("end", "S2"),
]
_DIGITS: Final = [("subject", "S32"), ("a", "S8"), ("b", "S4"), ("c", "S4"), ("d", "S4"),
                  ("e", "S12")]  # fmt: skip
_NAMES: Final = [
    ("subject=", "S11"),
    ("subject", "S32"),
    ("decision_id=", "S17"),
    ("a", "S8"),
    ("-b", "S1"),
    ("b", "S4"),
    ("-c", "S1"),
    ("c", "S4"),
    ("-d", "S1"),
    ("d", "S4"),
    ("-e", "S1"),
    ("e", "S12"),
    ("end", "S2"),
]


def unrewarded(pending: Pending, kinds: Kinds, rows: Rows) -> list[Message]:
    """Write the records that :func:`reports.settled` would give for rows without a reward."""
    keys, at, number = pending.key[rows], pending.at[rows], pending.kind[rows]
    digits = keys.astype(">u8").tobytes().hex().encode()
    header = pending.headers(rows)
    parts = zip(
        reports.settled_ids(keys),
        _cut(digits, 16),
        _heads(at, at + kinds.window[number], digits),
        _names(pending, rows, header),
        _features(pending, rows, header["floats"]),
        number.tolist(),
        _numbers(pending.propensity[rows]),
        _numbers(pending.version[rows]),
        _numbers(pending.eta[rows]),
        strict=True,
    )
    constants = kinds.constants
    return [
        Message(
            id_,
            key,
            b'%b%b%b%b,"propensity":%b,"policy_version":%b,"eta":%b}'
            % (head, names, features, constants[kind], propensity, version, eta),
        )
        for id_, key, head, names, features, kind, propensity, version, eta in parts
    ]


def _heads(at: Rows, settled_at: Rows, digits: bytes) -> list[bytes]:
    """Write times and keys."""
    form = np.empty(len(at), dtype=_HEAD)
    form["time="], form["settled_at="] = b'{"time":"', b'","settled_at":"'
    _write_times(form["time"], at)
    _write_times(form["settled_at"], settled_at)
    form["key="], form["end"] = b'","key":"', b'",'
    form["key"] = np.frombuffer(digits, dtype="S16")
    return _cut(form.tobytes(), form.itemsize)


def _write_times(form: NDArray[Any], at: Rows) -> None:
    second, rest = np.divmod(at, 1_000_000)
    seconds, place = np.unique(second, return_inverse=True)
    texts_ = [moment(each * 1_000_000).isoformat()[:19] + "." for each in seconds.tolist()]
    form["second"] = np.array(texts_, dtype="S20")[place]
    form["milli"], form["micro"] = _THOUSAND[rest // 1000], _THOUSAND[rest % 1000]
    form["zone"] = b"Z"


def _names(pending: Pending, rows: Rows, header: NDArray[Any]) -> list[bytes]:
    """Write subjects and decision ids; those of the usual form all at once."""
    usual = (header["codes"] == texts.HEX_UUID) & (header["subject"] == 16)
    found: list[bytes] = []
    if usual.any():
        form = _usual_names(pending, rows[usual], header["floats"][usual])
        found = _cut(form.tobytes(), form.itemsize)
    for place in np.flatnonzero(~usual).tolist():
        _, subject, decision_id = texts.unpack(pending.blob(int(rows[place])))
        names = msgspec.json.encode({"subject": subject, "decision_id": decision_id})
        found.insert(place, names[1:-1] + b",")
    return found


def _usual_names(pending: Pending, rows: Rows, floats: NDArray[Any]) -> NDArray[Any]:
    skip = np.where(floats == texts.NO_FEATURES, 0, 4 * floats.astype(np.int64))
    ids = pending.cut(rows, texts.HEADER_BYTES + skip, 32)
    digits = np.frombuffer(ids.tobytes().hex().encode(), dtype=_DIGITS)
    form = np.empty(len(rows), dtype=_NAMES)
    form["subject="], form["decision_id="], form["end"] = (
        b'"subject":"',
        b'","decision_id":"',
        b'",',
    )
    for name, _ in _DIGITS:
        form[name] = digits[name]
    for name in ("-b", "-c", "-d", "-e"):
        form[name] = b"-"
    return form


def _features(pending: Pending, rows: Rows, floats: NDArray[Any]) -> list[bytes]:
    """Write features as base64; nothing for a decision without."""
    found = [b""] * len(rows)
    for size in np.unique(floats).tolist():
        if size == texts.NO_FEATURES:
            continue
        places = np.flatnonzero(floats == size)
        for place, text in zip(places.tolist(), _base64(pending, rows[places], size), strict=True):
            found[place] = text
    return found


def _base64(pending: Pending, rows: Rows, floats: int) -> list[bytes]:
    if not floats:
        return [b'"features":"",'] * len(rows)
    width = 4 * floats
    padding = -width % 3
    data = np.zeros((len(rows), width + padding), dtype=np.uint8)
    vectors = pending.cut(rows, texts.HEADER_BYTES, width)
    data[:, :width] = vectors.view(np.uint8).reshape(len(rows), width)
    size = (width + padding) // 3 * 4
    form = np.empty(len(rows), dtype=[("features=", "S12"), ("text", f"S{size}"), ("end", "S2")])
    form["features="], form["end"] = b'"features":"', b'",'
    form["text"] = np.frombuffer(binascii.b2a_base64(data.tobytes(), newline=False), f"S{size}")
    whole = form.view(np.uint8).reshape(len(rows), form.itemsize)
    whole[:, form.itemsize - 2 - padding : form.itemsize - 2] = ord("=")
    return _cut(whole.tobytes(), form.itemsize)


def _numbers(values: NDArray[Any]) -> list[bytes]:
    return msgspec.json.encode(values.tolist())[1:-1].split(b",")


def _cut(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]
