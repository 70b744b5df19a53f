"""A decision's features and names in few bytes: 32 float32 features and two ids take 165."""

import binascii
from collections.abc import Sequence
from struct import Struct as Layout
from typing import Final

import numpy as np

_HEADER = Layout("<HHB")
_TEXT, _HEX, _UUID, _NONE = range(4)

HEADER_BYTES = _HEADER.size
HEADER: Final = [("floats", "<u2"), ("subject", "<u2"), ("codes", "u1")]
"""The header for NumPy: how many floats, bytes of the subject, how the two names are written."""
NO_FEATURES: Final = 0xFFFF
HEX_UUID: Final = _HEX << 4 | _UUID
"""The code of a subject of 32 hexadecimal digits and a decision id that is a UUID."""


DESCRIBED: Final = 0x80
"""The bit of the codes that says that the features of the action follow the names."""

SITUATED: Final = 0x40
"""The bit of the codes that says that the context of the request follows all that."""

NAME_CODES: Final = 0xFF ^ DESCRIBED ^ SITUATED
"""The other bits: how the two names are written."""

_CODES_AT: Final = HEADER_BYTES - 1
_LENGTH = Layout("<I")


def with_texts(blob: bytes, content: bytes | None, context: bytes | None) -> bytes:
    """Add the features of the action that is shown, and the request's context, as JSON.

    >>> blob = with_texts(pack_decision(None, None, "d-1"), b'{"price":1}', b'{"hour":9}')
    >>> content_of(blob), context_of(blob), unpack_decision(blob)
    (b'{"price":1}', b'{"hour":9}', (None, None, 'd-1'))
    """
    codes, parts = blob[_CODES_AT], [blob[HEADER_BYTES:]]
    for bit, text in ((DESCRIBED, content), (SITUATED, context)):
        if text is not None:
            codes |= bit
            parts += [text, _LENGTH.pack(len(text))]
    return b"".join((blob[:_CODES_AT], bytes([codes]), *parts))


def content_of(blob: bytes) -> bytes | None:
    """Give the features of the action that :func:`with_texts` added; None where it added none."""
    return _text(blob, _context_start(blob)) if blob[_CODES_AT] & DESCRIBED else None


def context_of(blob: bytes) -> bytes | None:
    """Give the context that :func:`with_texts` added; None where it added none."""
    return _text(blob, len(blob)) if blob[_CODES_AT] & SITUATED else None


def _text(blob: bytes, end: int) -> bytes:
    """Give the text whose length ends before ``end``."""
    return blob[_text_start(blob, end) : end - _LENGTH.size]


def _text_start(blob: bytes, end: int) -> int:
    (length,) = _LENGTH.unpack_from(blob, end - _LENGTH.size)
    return end - _LENGTH.size - int(length)


def _context_start(blob: bytes) -> int:
    return _text_start(blob, len(blob)) if blob[_CODES_AT] & SITUATED else len(blob)


def _names_end(blob: bytes) -> int:
    end = _context_start(blob)
    return _text_start(blob, end) if blob[_CODES_AT] & DESCRIBED else end


def pack_decision(features: str | None, subject: str | None, decision_id: str) -> bytes | None:
    """Write the three as bytes; None when ``features`` is not base64 of finite float32.

    >>> blob = pack_decision("AACAPw==", None, "0b9c6e9e-2f0c-4a44-8d5e-3f1f6f0a7a11")
    >>> len(blob), unpack_decision(blob)
    (25, ('AACAPw==', None, '0b9c6e9e-2f0c-4a44-8d5e-3f1f6f0a7a11'))
    """
    if features is None:
        vector, floats = b"", NO_FEATURES
    else:
        try:
            vector = binascii.a2b_base64(features)
        except ValueError:
            return None
        floats = len(vector) // 4
        if len(vector) % 4 or floats >= NO_FEATURES or not _finite(vector):
            return None
    if subject is not None and len(subject) == 32 and len(decision_id) == 36:
        value = _two_names(subject, decision_id)
        if value is not None:
            return _HEADER.pack(floats, 16, HEX_UUID) + vector + value
    subject_code, subject_bytes = _packed(subject)
    id_code, id_bytes = _packed(decision_id)
    header = _HEADER.pack(floats, len(subject_bytes), subject_code << 4 | id_code)
    return header + vector + subject_bytes + id_bytes


def pack_decisions(names: Sequence[tuple[str | None, str | None, str]]) -> list[bytes | None]:
    """Write many as :func:`pack_decision` does; ``names`` are features, subject and decision id.

    >>> names = ("AACAPw==", "ab" * 16, "0b9c6e9e-2f0c-4a44-8d5e-3f1f6f0a7a11")
    >>> pack_decisions([names, names]) == [pack_decision(*names)] * 2
    True
    """
    whole = [each for each in names if each[0] is not None and each[1] is not None]
    if len(whole) < len(names):
        packed = iter(pack_decisions(whole))
        return [
            next(packed) if each[0] is not None and each[1] is not None else pack_decision(*each)
            for each in names
        ]
    blobs = _alike(whole) if whole else []  # type: ignore[arg-type]
    return [pack_decision(*each) for each in names] if blobs is None else blobs


def _alike(names: Sequence[tuple[str, str, str]]) -> list[bytes | None] | None:
    """Write features of one size with the usual names; None where they are not all like that."""
    features, subjects, decision_ids = zip(*names, strict=True)
    if set(map(len, subjects)) != {32} or set(map(len, decision_ids)) != {36}:
        return None
    digits = "".join([subject + id_ for subject, id_ in zip(subjects, decision_ids, strict=True)])
    bare, dashes = digits.replace("-", ""), "-" * len(names)
    # Of the 68 letters of each, a UUID's four dashes and nothing else.
    if len(bare) != 64 * len(names) or any(digits[at::68] != dashes for at in (40, 45, 50, 55)):
        return None
    if bare != bare.lower():
        return None
    try:
        vectors = [binascii.a2b_base64(each) for each in features]
        ids = binascii.a2b_hex(bare)
    except ValueError:
        return None
    sizes = set(map(len, vectors))
    size = sizes.pop()
    if sizes or size % 4 or size // 4 >= NO_FEATURES or not _finite(b"".join(vectors)):
        return None
    header = _HEADER.pack(size // 4, 16, HEX_UUID)
    starts = range(0, len(ids), 32)
    pairs = zip(vectors, starts, strict=True)
    return [header + vector + ids[start : start + 32] for vector, start in pairs]


def unpack_decision(blob: bytes) -> tuple[str | None, str | None, str]:
    """Read features (base64), subject and decision id."""
    floats, subject_bytes, codes = _HEADER.unpack_from(blob)
    if codes & ~NAME_CODES:
        codes, blob = codes & NAME_CODES, blob[: _names_end(blob)]
    start, features = HEADER_BYTES, None
    if floats != NO_FEATURES:
        start += 4 * floats
        features = binascii.b2a_base64(blob[HEADER_BYTES:start], newline=False).decode()
    if codes == HEX_UUID:
        digits = blob[start:].hex()
        if subject_bytes == 16:
            return features, digits[:32], _dashed(digits[32:])
    end = start + subject_bytes
    decision_id = _unpacked(codes & 15, blob[end:])
    assert decision_id is not None
    return features, _unpacked(codes >> 4, blob[start:end]), decision_id


def packed_subject(blob: bytes) -> str | None:
    """Read the subject only."""
    floats, subject_bytes, codes = _HEADER.unpack_from(blob)
    start = HEADER_BYTES + 4 * (floats if floats != NO_FEATURES else 0)
    return _unpacked((codes & NAME_CODES) >> 4, blob[start : start + subject_bytes])


def packed_names(blob: bytes) -> bytes:
    """Read subject and decision id as they are packed, to compare them with others."""
    floats, _, _ = _HEADER.unpack_from(blob)
    start = HEADER_BYTES + 4 * (floats if floats != NO_FEATURES else 0)
    return blob[start : _names_end(blob)]


def packed_features(blob: bytes) -> bytes | bytearray:
    """Read the features only, as float32 bytes; empty without any."""
    floats = blob[0] | blob[1] << 8
    return blob[HEADER_BYTES : HEADER_BYTES + 4 * floats] if floats != NO_FEATURES else b""


def _finite(vector: bytes) -> bool:
    return bool(np.isfinite(np.frombuffer(vector, dtype="<f4")).all())


def _two_names(subject: str, decision_id: str) -> bytes | None:
    """Write 32 digits and a UUID as 32 bytes; None when they are not that, in lower case."""
    digits = subject + decision_id.replace("-", "")
    if len(digits) != 64 or decision_id[8:24:5] != "----" or digits != digits.lower():
        return None
    try:
        return binascii.a2b_hex(digits)
    except ValueError:
        return None


def _packed(text: str | None) -> tuple[int, bytes]:
    if text is None:
        return _NONE, b""
    size = len(text)
    value = _digits(text.replace("-", "") if size == 36 else text) if size >= 16 else None
    if value is not None and size < 36:
        return _HEX, value
    if value is not None and len(value) == 16 and _dashed(value.hex()) == text:
        return _UUID, value
    return _TEXT, text.encode()


def _digits(text: str) -> bytes | None:
    """Read lower-case hexadecimal digits and nothing else."""
    try:
        value = bytes.fromhex(text)
    except ValueError:
        return None
    return value if value.hex() == text else None


def _dashed(digits: str) -> str:
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _unpacked(code: int, value: bytes) -> str | None:
    if code == _NONE:
        return None
    if code == _TEXT:
        return value.decode()
    digits = value.hex()
    return digits if code == _HEX else _dashed(digits)
