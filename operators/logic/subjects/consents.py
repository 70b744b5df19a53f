"""What each subject consents to, and since when, whatever order the records come in."""

import struct
from collections.abc import Iterator
from functools import cache
from typing import Protocol

from msgspec import Struct, msgpack

from schemas.consent import allows_profile

_MOST = 16
"""Purposes have numbers from 1 to 11; the framework may add a few, others are passed over."""


class ConsentTerms(Protocol):
    """The fields of a consent record (:class:`schemas.events.Consent`) that are kept."""

    purposes: list[int]
    basis: str
    version: str


class StandingConsent(Struct, frozen=True, gc=False):
    """A subject's consent as it stands since ``at`` (microseconds since 1970).

    ``purposes`` are sorted numbers, none when everything is withdrawn; ``basis`` is the legal
    basis and ``version`` that of the text that was agreed to.
    """

    at: int
    purposes: tuple[int, ...]
    basis: str
    version: str

    @property
    def allows_profile(self) -> bool:
        """Tell whether a profile may be kept."""
        return allows_profile(self.purposes)

    def joined(self, other: "StandingConsent") -> "StandingConsent":
        """Merge two consents of a subject into the one that is in force, in either order.

        The newer one counts. Of two at the same time only the purposes that are in both, with the
        greater version and basis.

        >>> one, two = (
        ...     StandingConsent(9, (1, 5, 6), "consent", "1"),
        ...     StandingConsent(9, (1, 8), "consent", "2"),
        ... )
        >>> one.joined(two) == two.joined(one) == StandingConsent(9, (1,), "consent", "2")
        True
        """
        if self.at != other.at:
            return max(self, other, key=lambda each: each.at)
        purposes = tuple(purpose for purpose in self.purposes if purpose in other.purposes)
        version, basis = max((self.version, self.basis), (other.version, other.basis))
        return StandingConsent(self.at, purposes, basis, version)


_HEAD = struct.Struct("<qH")
_TAIL = msgpack.Decoder(tuple[str, str])


class Consents:
    """The consents of one shard's subjects, those withdrawn included, each packed.

    The result does not depend on the order of consents and erasures, nor on repetitions. Of an
    erased subject only the time of the erasure is left, which an older consent must not undo.

    >>> from schemas.events import Consent
    >>> consents, given = Consents(), dict(id="c", time="2026-01-01", subject="ann")
    >>> consents.add("ann", 20, Consent(**given, purposes=[])).allows_profile
    False
    >>> consents.add("ann", 10, Consent(**given, purposes=[5, 6])) is None
    True
    >>> consents.erase("ann", 30), consents.add("ann", 25, Consent(**given, purposes=[5, 6]))
    (None, None)
    """

    def __init__(self) -> None:
        self._packed: dict[str, bytes] = {}
        self.ended: dict[str, int] = {}
        """By subject, the time up to which its consent records no longer count."""

    def __len__(self) -> int:
        """Count the subjects whose consent is known."""
        return len(self._packed)

    def __contains__(self, subject: object) -> bool:
        """Tell whether a consent of the subject is known, be it withdrawn."""
        return subject in self._packed

    def __iter__(self) -> Iterator[str]:
        """Go through the subjects whose consent is known."""
        return iter(self._packed)

    def get(self, subject: str) -> StandingConsent | None:
        """Give a subject's consent in force; ``None`` if it never gave one or was forgotten."""
        packed = self._packed.get(subject)
        return None if packed is None else _unpacked(packed)

    def purposes(self, subject: str) -> tuple[int, ...]:
        """Give the purposes of a known consent."""
        return _purposes(_HEAD.unpack_from(self._packed[subject])[1])

    def since(self, subject: str) -> int:
        """Give the time of a known consent."""
        at: int = _HEAD.unpack_from(self._packed[subject])[0]
        return at

    def add(self, subject: str, at: int, terms: ConsentTerms) -> StandingConsent | None:
        """Add a consent record of time ``at``; give the consent now in force, if it changed."""
        if at <= self.ended.get(subject, at - 1):
            return None
        purposes = sorted({purpose for purpose in terms.purposes if 0 < purpose < _MOST})
        now = StandingConsent(at, tuple(purposes), terms.basis, terms.version)
        known = self.get(subject)
        if known is not None:
            now = known.joined(now)
            if now == known:
                return None
        self._packed[subject] = _packed(now)
        return now

    def erase(self, subject: str, at: int) -> StandingConsent | None:
        """Forget consents up to ``at``; give a later one, which stays in force."""
        self.ended[subject] = max(at, self.ended.get(subject, at))
        known = self.get(subject)
        if known is not None and known.at <= at:
            del self._packed[subject]
            return None
        return known

    def forget(self, subject: str) -> None:
        """Forget a subject's consent, but not the time of a withdrawal: no older one returns."""
        known = self.get(subject)
        if known is None:
            return
        del self._packed[subject]
        if not known.allows_profile:
            self.ended[subject] = max(known.at, self.ended.get(subject, known.at))

    def expire(self, before: int) -> None:
        """Drop the entries of ``ended`` that are older than ``before``."""
        if self.ended and min(self.ended.values()) < before:
            self.ended = {s: at for s, at in self.ended.items() if at >= before}

    def packed(self, subject: str) -> bytes:
        """Give a known consent in its packed form."""
        return self._packed[subject]

    def load(self, subject: str, packed: bytes) -> None:
        """Take over what :meth:`packed` gave."""
        self._packed[subject] = packed


def _packed(standing: StandingConsent) -> bytes:
    bits = sum(1 << purpose for purpose in standing.purposes)
    tail = msgpack.encode((standing.basis, standing.version))
    return _HEAD.pack(standing.at, bits) + tail


def _unpacked(packed: bytes) -> StandingConsent:
    at, bits = _HEAD.unpack_from(packed)
    basis, version = _TAIL.decode(memoryview(packed)[_HEAD.size :])
    return StandingConsent(at, _purposes(bits), basis, version)


@cache
def _purposes(bits: int) -> tuple[int, ...]:
    return tuple(purpose for purpose in range(1, _MOST) if bits >> purpose & 1)
