"""The hashes that assign: keyed BLAKE2b (RFC 7693) of UTF-8 bytes, as integers of 64 bits.

Two steps, so that a unit costs one block. A key of 32 bytes is made of the secret, the purpose (as
the personalisation) and the name that it is about: an experiment's id, or a layer's. A unit's hash
is BLAKE2b of that key and the unit's id after it, which is a pseudorandom function of the unit: the
key has a fixed length, and BLAKE2 cannot be extended. So the hashes of two purposes or names are
independent of each other. The experiment's id is part of the name, and no version of it: an edit
moves nobody. Test vectors are in ``docs/reference/assignment.md``.
"""

from collections.abc import Sequence
from fractions import Fraction
from hashlib import blake2b
from typing import Final

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


class UnitHash:
    """Hashes units, of subjects or decisions, for one purpose and one experiment or layer.

    ``secret`` is the assignment key; one of more than 64 bytes counts by its BLAKE2b.

    >>> UnitHash(b"an example of a key", VARIATION, "t1").of("吉 星")
    15694119535539302222
    """

    def __init__(self, secret: bytes, purpose: bytes, name: str) -> None:
        if not secret:
            raise ValueError("the assignment secret is empty")
        key = secret if len(secret) <= 64 else blake2b(secret).digest()
        own = blake2b(text_bytes(name), digest_size=32, key=key, person=purpose)
        self._begun = blake2b(own.digest(), digest_size=8)

    def of(self, unit: str) -> int:
        """Give a unit's number from 0 to before 2**64."""
        return self.of_many([text_bytes(unit)])[0]

    def of_many(self, units: Sequence[bytes]) -> list[int]:
        """Give the numbers of units, whose ids are given in UTF-8."""
        copy, number = self._begun.copy, int.from_bytes
        numbers = []
        for unit in units:
            stream = copy()
            stream.update(unit)
            numbers.append(number(stream.digest(), "little"))
        return numbers


def text_bytes(text: str) -> bytes:
    """Give a text in UTF-8; half surrogate pairs, which no record has, in their three bytes."""
    return text.encode("utf-8", "surrogatepass")


def threshold(share: float) -> int:
    """Give the number that so large a share of all hashes lie below; decimals count as written.

    >>> threshold(0.0), threshold(0.5) == WHOLE // 2, threshold(1.0) == WHOLE
    (0, True, True)
    """
    return int(Fraction(str(share)) * WHOLE)
