"""The hashes that assign: keyed BLAKE2b (RFC 7693) of UTF-8 bytes, as integers of 64 bits.

The personalisation names the purpose, so the hashes of two purposes are independent of each other;
the message is the name that the purpose is about (an experiment, a layer) and the unit, each with
its length in bytes in front. The experiment's id is in it, and no version of it: an edit moves
nobody. Test vectors are in ``docs/reference/assignment.md``.
"""

from fractions import Fraction
from hashlib import blake2b
from typing import Final, Protocol

INCLUSION: Final = b"inclusion"
"""Whether a unit is in an experiment: a ramp moves the threshold of this hash alone."""

VARIATION: Final = b"variation"
"""Which variation a unit gets."""

LAYER: Final = b"layer"
"""The unit's bucket in a layer: the same for all experiments of the layer."""

GLOBAL_HOLDOUT: Final = b"global hold-out"
"""Whether a subject gets the baseline of every experiment."""

WHOLE: Final = 2**64
"""How many values a hash has: it lies from 0 to before it."""


class UnitHash(Protocol):
    """Hashes a unit's id, of a subject or a decision, for one purpose and name."""

    def __call__(self, unit: str) -> int:
        """Give the unit's number from 0 to before 2**64."""


def unit_hash(secret: bytes, purpose: bytes, name: str) -> UnitHash:
    """Make the hash of units for one purpose and the id of an experiment or layer.

    ``secret`` is the assignment key; one of more than 64 bytes counts by its BLAKE2b.

    >>> hash_ = unit_hash(b"an example of a key", VARIATION, "t1")
    >>> hash_("吉 星")
    2706701247994760450
    """
    if not secret:
        raise ValueError("the assignment secret is empty")
    key = secret if len(secret) <= 64 else blake2b(secret).digest()
    base = blake2b(_framed(name), digest_size=8, key=key, person=purpose)
    copy, number = base.copy, int.from_bytes

    def hash_of(unit: str) -> int:
        stream = copy()
        stream.update(_framed(unit))
        return number(stream.digest(), "little")

    return hash_of


def threshold(share: float) -> int:
    """Give the number that so large a share of all hashes lie below; decimals count as written.

    >>> threshold(0.0), threshold(0.5) == WHOLE // 2, threshold(1.0) == WHOLE
    (0, True, True)
    """
    return int(Fraction(str(share)) * WHOLE)


def _framed(name: str) -> bytes:
    # The length in front keeps ("t1", "1a") and ("t11", "a") apart.
    text = name.encode("utf-8", "surrogatepass")
    return b"%d:%b" % (len(text), text)
