"""What is remembered of consenting subjects: counts, decayed rates, tastes, an embedding."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from math import log1p
from typing import Any, Protocol

import numpy as np
from msgspec import Struct

from operators.logic import profile_record as records
from operators.logic.profile_record import NO_CATEGORY, Record, category_of, read, remembered
from operators.logic.profile_tastes import Tastes
from schemas import state
from schemas.results import Profile

_KIND, _VERSION = "profiles", 2
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PURPOSES = 1 << 5 | 1 << 6
_pack, _unpack = records.pack, records.unpack
_BUCKETS = 16


class Seen(Protocol):
    """An event of a subject: its time in microseconds since 1970, join key and record."""

    at: int
    subject: str
    key: int
    body: Any


class _State(Struct):
    subjects: list[str]
    records: bytes
    tastes: dict[str, Tastes]
    embeddings: dict[str, bytes]
    categories: list[str]
    refused: dict[str, int]
    changed: dict[str, int]
    removed: dict[str, tuple[int, int]]


class Profiles:
    """The profiles of one shard's subjects, each a packed record of 98 bytes.

    A record exists exactly while its subject's consent to purposes 5 and 6 is in force, so
    nothing is kept, or learned, of anyone else. All updates but consent commute (to rounding),
    so events may come in any order that keeps them on their side of a consent.

    Parameters
    ----------
    ttl_s
        Seconds of event time after which an unseen subject is forgotten.
    half_life_s
        Half-life of the decayed click rate and of the tastes.
    late_s
        How late a consent may come: so long the time of a withdrawal or an erasure is kept, which
        an older consent must not undo.
    """

    def __init__(
        self, ttl_s: float, half_life_s: float = 7 * 86_400.0, late_s: float = 86_400.0
    ) -> None:
        self._ttl = round(ttl_s * 1e6)
        self._decay = -1e-6 / half_life_s
        self._late = round(late_s * 1e6)
        self._width = max(1, self._ttl // _BUCKETS)
        self._records: dict[str, bytes] = {}
        self._tastes: dict[str, Tastes] = {}
        self._embeddings: dict[str, bytes] = {}
        self._buckets: dict[int, list[str]] = defaultdict(list)
        self._refused: dict[str, int] = {}
        self._changed: dict[str, int] = {}
        self.now = -(2**62)
        """When what comes next has come, for :meth:`changed`."""
        self._removed: dict[str, tuple[int, int]] = {}
        self._categories: list[str] = []
        self._codes: dict[str, int] = {}

    def __len__(self) -> int:
        """Count the subjects remembered."""
        return len(self._records)

    def allows_profile(self, subject: str) -> bool:
        """Tell whether the subject's consent to purposes 5 and 6 is in force."""
        return subject in self._records

    def categorise(self, categories: Mapping[str, str]) -> None:
        """Name the category of each action, for the tastes; at most 254 categories count."""
        known = {name: code for code, name in enumerate(self._categories)}
        for name in sorted(set(categories.values()) - known.keys()):
            if len(known) < NO_CATEGORY:
                known[name] = len(known)
        self._categories = list(known)
        self._codes = {a: known[name] for a, name in categories.items() if name in known}

    def request(self, event: Seen) -> None:
        """Count a decision request."""
        self._add(event, 1, 0, 0, 0.0)

    def decision(self, event: Seen) -> None:
        """Remember which action a decision showed, for the category of its clicks."""
        packed = self._records.get(event.subject)
        if packed is not None:
            code = self._codes.get(event.body.action_id, NO_CATEGORY)
            self._records[event.subject] = remembered(packed, event.key, code)

    def impression(self, event: Seen) -> None:
        """Count an impression."""
        self._add(event, 0, 1, 0, 0.0)

    def click(self, event: Seen) -> None:
        """Count a click, and towards the category of what was clicked."""
        packed = self._records.get(event.subject)
        if packed is None:
            return
        self._add(event, 0, 0, 1, 0.0)
        code = category_of(packed, event.key)
        if code != NO_CATEGORY:
            tastes = self._tastes.setdefault(event.subject, Tastes(event.at, {}))
            tastes.add(event.at, code, self._decay)

    def reward(self, event: Seen) -> None:
        """Add a reward."""
        self._add(event, 0, 0, 0, event.body.value)

    def consent(self, event: Seen) -> None:
        """Put a subject's consent in force; without purposes 5 and 6 everything is forgotten."""
        subject, at = event.subject, event.at
        purposes = sum(1 << p for p in set(event.body.purposes) if 0 < p < 16)
        packed = self._records.get(subject)
        if packed is not None and at < read(packed).since:
            return
        if at < self._refused.get(subject, at):
            return
        if purposes & _PURPOSES != _PURPOSES:
            self._forget(subject, at)
            self._refused[subject] = at
            return
        if packed is None:
            self._begin(subject, at, purposes)
        else:
            record = read(packed)
            record = record._replace(version=record.version + 1, since=at, purposes=purposes)
            self._records[subject] = _pack(*record)
        self._refused.pop(subject, None)
        self._changed.setdefault(subject, self.now)

    def erasure(self, event: Seen) -> None:
        """Forget a subject; only a consent given later starts a new profile."""
        subject, at = event.subject, event.at
        packed = self._records.get(subject)
        self._forget(subject, at)
        self._refused[subject] = max(at, self._refused.get(subject, at))
        if packed is not None and read(packed).since > at:
            # The erasure came late: nothing tells what is older, but the newer consent holds.
            self._begin(subject, read(packed).since, read(packed).purposes)
            self._changed.setdefault(subject, self.now)

    def embed(self, subject: str, embedding: Sequence[float], at: int, changes: int) -> None:
        """Set a subject's embedding as of ``at``, after ``changes`` of it since it was last set.

        Nothing happens without consent, or where the consent in force is younger.
        """
        packed = self._records.get(subject)
        if packed is not None and at >= read(packed).since:
            record = read(packed)
            self._records[subject] = _pack(*record._replace(version=record.version + changes))
            self._embeddings[subject] = np.asarray(embedding, "<f4").tobytes()
            self._changed.setdefault(subject, self.now)

    def embedding_of(self, subject: str) -> list[float] | None:
        """Give a subject's embedding, ``None`` if it has none."""
        packed = self._embeddings.get(subject)
        return None if packed is None else np.frombuffer(packed, "<f4").tolist()

    def features_of(self, subject: str) -> dict[str, float]:
        """Give a subject's features by name (``docs/reference/features.md``); none, no consent."""
        packed = self._records.get(subject)
        if packed is None:
            return {}
        _, requests, impressions, clicks, rewards, shown, clicked, *_ = _unpack(packed)
        features = {
            "requests": float(requests),
            "impressions": float(impressions),
            "clicks": float(clicks),
            "rewards": rewards,
            "log_requests": log1p(requests),
            "log_impressions": log1p(impressions),
            "log_clicks": log1p(clicks),
            "click_rate": (clicked + records.PRIOR_CLICKS) / (shown + records.PRIOR_SHOWN),
        }
        tastes = self._tastes.get(subject)
        if tastes is not None:
            for code, share in tastes.shares():
                features[f"affinity.{self._categories[code]}"] = share
        return features

    def changed(self, until: int | None = None) -> list[Profile]:
        """Give each profile that changed since it was last given, removed ones as deleted.

        With ``until`` those that did not change before stay for a later call; a removed one never.
        """
        removed = [
            Profile(subject=subject, version=version, time=_moment(at), deleted=True)
            for subject, (version, at) in sorted(self._removed.items())
            if subject not in self._records
        ]
        self._removed.clear()
        # The dict lists subjects by the time of their first change.
        due = [
            subject
            for subject, at in takewhile(
                lambda item: until is None or item[1] <= until, self._changed.items()
            )
        ]
        for subject in due:
            del self._changed[subject]
        return removed + [self._profile(subject) for subject in sorted(due)]

    def kept(self) -> Iterator[Profile]:
        """Go through all profiles by subject, without saying that they were given."""
        return (self._profile(subject) for subject in sorted(self._records))

    def expire(self, watermark: int) -> None:
        """Forget the subjects unseen for the time to live, and withdrawals past lateness."""
        horizon = (watermark - self._ttl) // self._width
        for bucket in [bucket for bucket in self._buckets if bucket < horizon]:
            for subject in self._buckets.pop(bucket):
                packed = self._records.get(subject)
                if packed is not None and read(packed).seen // self._width == bucket:
                    self._forget(subject, watermark)
        if self._refused and min(self._refused.values()) < watermark - self._late:
            kept = self._refused.items()
            self._refused = {s: at for s, at in kept if at >= watermark - self._late}

    def dump(self) -> bytes:
        """Write the state compactly, changes that were not given yet included."""
        return state.pack(
            _KIND,
            _VERSION,
            _State(
                list(self._records),
                b"".join(self._records.values()),
                self._tastes,
                self._embeddings,
                self._categories,
                self._refused,
                self._changed,
                self._removed,
            ),
        )

    @classmethod
    def load(
        cls,
        snapshot: bytes,
        ttl_s: float,
        half_life_s: float = 7 * 86_400.0,
        late_s: float = 86_400.0,
    ) -> "Profiles":
        """Read what :meth:`dump` wrote; the categories of actions are to be named again."""
        kept = state.unpack(_KIND, _VERSION, _State, snapshot)
        profiles = cls(ttl_s, half_life_s, late_s)
        size = records.SIZE
        for place, subject in enumerate(kept.subjects):
            packed = kept.records[size * place : size * (place + 1)]
            profiles._records[subject] = packed
            profiles._file(subject, read(packed).seen)
        profiles._tastes = kept.tastes
        profiles._embeddings = kept.embeddings
        profiles._categories = kept.categories
        profiles._refused = kept.refused
        profiles._changed = kept.changed
        profiles._removed = kept.removed
        return profiles

    def _add(
        self,
        event: Seen,
        requests: int,
        impressions: int,
        clicks: int,
        reward: float,
    ) -> None:
        subject, at = event.subject, event.at
        packed = self._records.get(subject)
        if packed is None:
            return
        version, n, i, c, total, shown, clicked, seen, since, purposes, recent = _unpack(packed)
        if at >= seen:
            if shown or clicked:
                fade = 2.0 ** ((at - seen) * self._decay)
                shown *= fade
                clicked *= fade
            shown += impressions
            clicked += clicks
            if at // self._width != seen // self._width:
                self._file(subject, at)
            seen = at
        else:
            weight = 2.0 ** ((seen - at) * self._decay)
            shown += weight * impressions
            clicked += weight * clicks
        self._records[subject] = _pack(
            version + 1,
            n + requests,
            i + impressions,
            c + clicks,
            total + reward,
            shown,
            clicked,
            seen,
            since,
            purposes,
            recent,
        )
        self._changed.setdefault(subject, self.now)

    def _begin(self, subject: str, at: int, purposes: int) -> None:
        # Versions count on from the time in milliseconds: they rise over a life and the next one.
        last = self._removed.get(subject, (0, 0))[0]
        self._records[subject] = records.new(max(at // 1000, last + 1), at, purposes)
        self._file(subject, at)

    def _file(self, subject: str, seen: int) -> None:
        self._buckets[seen // self._width].append(subject)

    def _forget(self, subject: str, at: int) -> None:
        packed = self._records.pop(subject, None)
        if packed is None:
            return
        self._removed[subject] = (read(packed).version + 1, at)
        self._tastes.pop(subject, None)
        self._embeddings.pop(subject, None)
        self._changed.pop(subject, None)

    def _profile(self, subject: str) -> Profile:
        record = read(self._records[subject])
        return Profile(
            subject=subject,
            version=record.version,
            time=_moment(record.seen),
            features=self.features_of(subject),
            embedding=self.embedding_of(subject),
            purposes=list(_purposes(record)),
        )


def _purposes(record: Record) -> Iterable[int]:
    return (purpose for purpose in range(16) if record.purposes >> purpose & 1)


def _moment(at: int) -> datetime:
    return _EPOCH + timedelta(microseconds=at)
