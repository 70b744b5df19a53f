"""The random numbers of decisions: a counter-based function of who decides what, for whom.

A keyed BLAKE2b (RFC 7693) of (secret, salt, slot, subject, decision) is the uniform number; there
is no generator and so no state: a replay draws the same numbers, two salts give independent
streams, and a client that cannot know the secret cannot choose ids for their draws.
"""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

ACTION = b"action"
"""The stream that picks the action of a decision."""

GROUP = b"group"
"""The stream that assigns hold-out and experiment groups."""

PAIR = b"pair"
"""The stream that gives both at once."""

POINTS = b"points"
"""The stream that reflects the points of a quadrature."""

_SCALE = 2.0**-53


def uniform(secret: bytes, *parts: str, salt: bytes = ACTION) -> float:
    """Draw the number in [0, 1), of 53 random bits, that belongs to these names.

    >>> uniform(b"secret", "home", "ann", "d-1") == uniform(b"secret", "home", "ann", "d-1")
    True
    >>> uniform(b"secret", "home", "ann", "d-1") == uniform(b"secret", "home", "ann", "d-2")
    False
    """
    stream = blake2b(digest_size=8, key=_key(secret), person=salt)
    stream.update(_bytes("".join(map(_framed, parts))))
    return (int.from_bytes(stream.digest(), "little") >> 11) * _SCALE


def uniforms(
    secret: bytes,
    slot_id: str,
    subjects: Sequence[str],
    decision_ids: Sequence[str],
    salt: bytes = ACTION,
) -> NDArray[np.float64]:
    """Draw ``uniform(secret, slot_id, subject, decision_id)`` for each decision of a batch."""
    pairs = zip(subjects, decision_ids, strict=True)
    names = [f"{len(s)}:{s}{len(d)}:{d}" for s, d in pairs]
    return _draw(secret, slot_id, names, salt)


def uniform_pairs(
    secret: bytes, slot_id: str, subjects: Sequence[str], decision_ids: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw two independent numbers for each decision at the cost of one: the halves of a digest.

    The first picks the action, the second assigns a group.
    """
    pairs = zip(subjects, decision_ids, strict=True)
    names = [f"{len(s)}:{s}{len(d)}:{d}" for s, d in pairs]
    drawn = _draw(secret, slot_id, names, PAIR, numbers=2)
    return drawn[0::2], drawn[1::2]


def point_keys(
    secret: bytes, slot_id: str, subjects: Sequence[str], decision_ids: Sequence[str]
) -> NDArray[np.uint64]:
    """Draw a key of 53 bits for the points of each decision, independent of its other numbers."""
    numbers = uniforms(secret, slot_id, subjects, decision_ids, POINTS)
    return np.asarray(numbers / _SCALE, np.uint64)


def sticky_uniforms(
    secret: bytes, slot_id: str, subjects: Sequence[str], salt: bytes = GROUP
) -> NDArray[np.float64]:
    """Draw ``uniform(secret, slot_id, subject)``: the same for all decisions of a subject."""
    return _draw(secret, slot_id, [_framed(subject) for subject in subjects], salt)


def _draw(
    secret: bytes, slot_id: str, names: list[str], salt: bytes, numbers: int = 1
) -> NDArray[np.float64]:
    size = 8 * numbers
    base = blake2b(_bytes(_framed(slot_id)), digest_size=size, key=_key(secret), person=salt)
    digests, copy = [], base.copy
    for name in names:
        stream = copy()
        stream.update(name.encode("utf-8", "surrogatepass"))
        digests.append(stream.digest())
    bits = np.frombuffer(b"".join(digests), "<u8") >> np.uint64(11)
    return bits.astype(np.float64) * _SCALE


def _key(secret: bytes) -> bytes:
    if not secret:
        raise ValueError("the draw secret is empty")
    return secret if len(secret) <= 64 else blake2b(secret).digest()


def _framed(name: str) -> str:
    # The length in front keeps ("ab", "c") and ("a", "bc") apart.
    return f"{len(name)}:{name}"


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
