"""What is remembered of consenting subjects: counts, decayed rates, tastes, an embedding."""

import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from math import log1p
from typing import Any, Final, Protocol

import msgspec
import numpy as np
from msgspec import Struct

from operators.logic.deciding.positions import position_key
from operators.logic.state.segmented import SegmentedSnapshot
from operators.logic.state.segments import SegmentFiles
from operators.logic.subjects import profile_record as records
from operators.logic.subjects.consents import StandingConsent
from operators.logic.subjects.profile_memory import SubjectMemory
from operators.logic.subjects.profile_record import MOST_RECENT, NO_CATEGORY, ProfileRecord
from operators.logic.subjects.tastes import Tastes
from schemas import state
from schemas.bounds import CATEGORY_BYTES
from schemas.clock import moment
from schemas.results import Profile

_KIND, _VERSION = "profiles", 5
_BUCKETS = 16
_GREATEST = sys.float_info.max
"""A sum of rewards stays a number: infinity could not be written."""

PROFILE_FEATURES: Final = (
    "requests",
    "impressions",
    "clicks",
    "rewards",
    "log_requests",
    "log_impressions",
    "log_clicks",
    "click_rate",
)
"""The features of every profile; one with clicks has an ``affinity.`` by category, too."""

_AFFINITY: Final = "affinity."


class SubjectEvent(Protocol):
    """An event of a subject: its time in microseconds since 1970, join key and record."""

    at: int
    subject: str
    key: int
    body: Any


class _State(Struct):
    memory: SegmentedSnapshot
    categories: list[str]
    ended: dict[str, int]
    changed: dict[str, int]
    removed: dict[str, tuple[int, int]]


def is_profile_feature(name: str) -> bool:
    """Tell whether a profile may have a feature of this name.

    >>> is_profile_feature("clicks"), is_profile_feature("affinity.sports"), is_profile_feature("x")
    (True, True, False)
    """
    return name in PROFILE_FEATURES or name.startswith(_AFFINITY)


class Profiles:
    """The profiles of one shard's subjects, each a record of 88 bytes (:class:`ProfileRecords`).

    A record exists exactly while its subject's consent allows a profile, so nothing but the
    consent is kept, or learned, of anyone else. All updates but consent commute (to rounding),
    so events may come in any order that keeps them on their side of a consent.

    Parameters
    ----------
    ttl_s
        Seconds of event time after which an unseen subject is forgotten, and its consent with
        it; a consent that allows no profile is forgotten so long after it was given.
    half_life_s
        Half-life of the decayed click rate and of the tastes.
    late_s
        How late a consent may come: at least so long the time of a withdrawal or an erasure is
        kept, which an older consent must not undo.
    """

    def __init__(
        self, ttl_s: float, half_life_s: float = 7 * 86_400.0, late_s: float = 86_400.0
    ) -> None:
        self._ttl = round(ttl_s * 1e6)
        self._decay = -1e-6 / half_life_s
        self._late = round(late_s * 1e6)
        self._width = max(1, self._ttl // _BUCKETS)
        self._remember(SubjectMemory())
        self._buckets: dict[int, list[str]] = defaultdict(list)
        self._changed: dict[str, int] = {}
        self.now = -(2**62)
        """When what comes next has come, for :meth:`changed`."""
        self._removed: dict[str, tuple[int, int]] = {}
        self._categories: list[str] = []
        self._codes: dict[str, int] = {}

    def use(self, segments: SegmentFiles) -> None:
        """Keep most of the state in these segment files from now on."""
        self._memory.use(segments)

    def __len__(self) -> int:
        """Count the subjects remembered."""
        return len(self._records)

    def allows_profile(self, subject: str) -> bool:
        """Tell whether a consent of the subject that allows a profile is in force."""
        return subject in self._records

    def categorise(self, categories: Mapping[str, str]) -> None:
        """Name the category of each action, for the tastes.

        At most 254 categories count, those whose names take :data:`~schemas.bounds.CATEGORY_BYTES`
        together: a profile names them all.
        """
        known = {name: code for code, name in enumerate(self._categories)}
        taken = sum(map(_json_length, known))
        for name in sorted(set(categories.values()) - known.keys()):
            length = _json_length(name)
            if len(known) < NO_CATEGORY and taken + length <= CATEGORY_BYTES:
                known[name] = len(known)
                taken += length
        self._categories = list(known)
        self._codes = {a: known[name] for a, name in categories.items() if name in known}

    def request(self, event: SubjectEvent) -> bool:
        """Count a decision request; tell whether its subject is remembered."""
        record = self._records.get(event.subject)
        if record is None:
            return False
        record.requests += 1
        self._meet(record, event)
        return True

    def decision(self, event: SubjectEvent) -> None:
        """Remember which actions a decision showed, for the categories of its clicks.

        Those at its first positions, as many as a record remembers, where it showed several.
        """
        record = self._records.get(event.subject)
        if record is None:
            return
        slate = event.body.slate
        if not slate:
            record.remember(event.key, self._codes.get(event.body.action_id, NO_CATEGORY))
            return
        for position in reversed(range(min(len(slate), MOST_RECENT))):
            code = self._codes.get(slate[position].action_id, NO_CATEGORY)
            record.remember(position_key(event.key, position), code)

    def impression(self, event: SubjectEvent) -> None:
        """Count an impression."""
        record = self._records.get(event.subject)
        if record is not None:
            record.impressions += 1
            weight = self._meet(record, event)
            record.shown += weight

    def click(self, event: SubjectEvent) -> None:
        """Count a click, and towards the category of what was clicked."""
        record = self._records.get(event.subject)
        if record is None:
            return
        record.clicks += 1
        weight = self._meet(record, event)
        record.clicked += weight
        code = record.category_of(position_key(event.key, event.body.position or 0))
        if code != NO_CATEGORY:
            tastes = self._tastes.setdefault(event.subject, Tastes(event.at, {}))
            tastes.add(event.at, code, self._decay)

    def reward(self, event: SubjectEvent) -> None:
        """Add a reward."""
        record = self._records.get(event.subject)
        if record is not None:
            total = record.rewards + event.body.value
            record.rewards = max(-_GREATEST, min(total, _GREATEST))
            self._meet(record, event)

    def consent(self, event: SubjectEvent) -> None:
        """Put a subject's consent in force; if it allows no profile, the profile is forgotten."""
        subject = event.subject
        consent = self._consents.add(subject, event.at, event.body)
        if consent is None:
            return
        self._memory.touch(subject)
        if not consent.allows_profile:
            self._forget_profile(subject, consent.at)
            self._file(subject, consent.at)
            return
        record = self._records.get(subject)
        if record is None:
            self._begin(subject, consent.at)
        else:
            record.version += 1
        self._changed.setdefault(subject, self.now)

    def erasure(self, event: SubjectEvent) -> None:
        """Forget a subject; only a consent given later starts a new profile."""
        subject, at = event.subject, event.at
        if subject in self._consents:
            self._memory.touch(subject)
        consent = self._consents.erase(subject, at)
        self._forget_profile(subject, at)
        if consent is not None and consent.allows_profile:
            # The erasure came late: nothing tells what is older, but the newer consent holds.
            self._begin(subject, consent.at)
            self._changed.setdefault(subject, self.now)

    def embed(self, subject: str, embedding: Sequence[float], at: int, changes: int) -> None:
        """Set a subject's embedding as of ``at``; it changed ``changes`` times since the last one.

        Nothing happens without consent, or where the consent in force is younger.
        """
        record = self._records.get(subject)
        if record is not None and at >= self._consents.since(subject):
            record.version += changes
            self._embeddings[subject] = np.asarray(embedding, "<f4").tobytes()
            self._changed.setdefault(subject, self.now)

    def consent_of(self, subject: str) -> StandingConsent | None:
        """Give a subject's consent as it stands, withdrawn or not; ``None`` if it is not known."""
        return self._consents.get(subject)

    def embedding_of(self, subject: str) -> list[float] | None:
        """Give a subject's embedding, ``None`` if it has none."""
        packed = self._embeddings.get(subject)
        return None if packed is None else np.frombuffer(packed, "<f4").tolist()

    def features_of(self, subject: str) -> dict[str, float]:
        """Give a subject's features by name (``docs/reference/features.md``), or none."""
        record = self._records.get(subject)
        return {} if record is None else self._features(subject, record)

    def _features(self, subject: str, record: ProfileRecord) -> dict[str, float]:
        features = {
            "requests": float(record.requests),
            "impressions": float(record.impressions),
            "clicks": float(record.clicks),
            "rewards": record.rewards,
            "log_requests": log1p(record.requests),
            "log_impressions": log1p(record.impressions),
            "log_clicks": log1p(record.clicks),
            "click_rate": record.click_rate,
        }
        tastes = self._tastes.get(subject)
        if tastes is not None:
            for code, share in tastes.shares():
                features[f"{_AFFINITY}{self._categories[code]}"] = share
        return features

    def changed(self, until: int | None = None) -> list[Profile]:
        """Give each profile that changed since it was last published, removed ones as deleted.

        With ``until`` those that did not change before stay for a later call; a removed one never.
        """
        removed = [
            Profile(subject=subject, version=version, time=moment(at), deleted=True)
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

    def all_profiles(self) -> Iterator[Profile]:
        """Go through all profiles by subject, without marking them as published."""
        return (self._profile(subject) for subject in sorted(self._records))

    def consents(self) -> Iterator[tuple[str, StandingConsent]]:
        """Go through all consents by subject, those that allow no profile included."""
        for subject in sorted(self._consents):
            consent = self._consents.get(subject)
            assert consent is not None, "it is in the list"
            yield subject, consent

    def expire(self, watermark: int) -> None:
        """Forget the subjects unseen for the time to live, and erasures past lateness."""
        horizon = (watermark - self._ttl) // self._width
        for bucket in [bucket for bucket in self._buckets if bucket < horizon]:
            for subject in self._buckets.pop(bucket):
                last = self._last(subject)
                if last is not None and last // self._width == bucket:
                    self._consents.forget(subject)
                    self._memory.touch(subject)
                    self._forget_profile(subject, watermark)
        self._consents.expire(watermark - self._late)

    def tidy(self) -> None:
        """Write what changed to a segment, when it is time to."""
        self._memory.tidy()

    def dump(self) -> bytes:
        """Write the state compactly, changes that were not given yet included.

        Where there are segments, only what is not in them, once they are durable.
        """
        stored = _State(
            memory=self._memory.snapshot(),
            categories=self._categories,
            ended=self._consents.ended,
            changed=self._changed,
            removed=self._removed,
        )
        return state.pack(_KIND, _VERSION, stored)

    @classmethod
    def load(
        cls,
        snapshot: bytes,
        ttl_s: float,
        half_life_s: float = 7 * 86_400.0,
        late_s: float = 86_400.0,
        segments: SegmentFiles | None = None,
    ) -> "Profiles":
        """Read what :meth:`dump` wrote; the categories of actions are to be named again."""
        stored = state.unpack(_KIND, _VERSION, _State, snapshot)
        profiles = cls(ttl_s, half_life_s, late_s)
        profiles._remember(SubjectMemory.load(stored.memory, segments))
        for subject, seen in profiles._records.last_seen():
            profiles._file(subject, seen)
        for subject in profiles._consents:
            if subject not in profiles._records:
                profiles._file(subject, profiles._consents.since(subject))
        profiles._categories = stored.categories
        profiles._consents.ended = stored.ended
        profiles._changed = stored.changed
        profiles._removed = stored.removed
        return profiles

    def _remember(self, memory: SubjectMemory) -> None:
        self._memory = memory
        self._records, self._tastes = memory.records, memory.tastes
        self._embeddings, self._consents = memory.embeddings, memory.consents

    def _meet(self, record: ProfileRecord, event: SubjectEvent) -> float:
        """Count a change of a record, decayed to now; give what the event weighs in its rates."""
        subject, at, seen = event.subject, event.at, record.seen
        record.version += 1
        self._changed.setdefault(subject, self.now)
        if at < seen:
            return float(2.0 ** ((seen - at) * self._decay))
        if record.shown or record.clicked:
            fade = 2.0 ** ((at - seen) * self._decay)
            record.shown *= fade
            record.clicked *= fade
        if at // self._width != seen // self._width:
            self._file(subject, at)
        record.seen = at
        return 1.0

    def _begin(self, subject: str, at: int) -> None:
        # Versions count on from the time in milliseconds: they rise over a life and the next one.
        last = self._removed.get(subject, (0, 0))[0]
        self._records.put(subject, records.new(max(at // 1000, last + 1), at))
        self._file(subject, at)

    def _file(self, subject: str, seen: int) -> None:
        self._buckets[seen // self._width].append(subject)

    def _last(self, subject: str) -> int | None:
        """Tell from when on a subject may be forgotten for being unseen; ``None`` if it is."""
        record = self._records.get(subject)
        if record is not None:
            return record.seen
        return self._consents.since(subject) if subject in self._consents else None

    def _forget_profile(self, subject: str, at: int) -> None:
        record = self._memory.forget_profile(subject)
        if record is None:
            return
        self._removed[subject] = (record.version + 1, at)
        self._changed.pop(subject, None)

    def _profile(self, subject: str) -> Profile:
        record = self._records.peek(subject)
        return Profile(
            subject=subject,
            version=record.version,
            time=moment(record.seen),
            features=self._features(subject, record),
            embedding=self.embedding_of(subject),
            purposes=list(self._consents.purposes(subject)),
        )


def lower_changes(snapshot: bytes, to: int) -> bytes:
    """Lower the times at which profiles have changed since they were published."""
    stored = state.unpack(_KIND, _VERSION, _State, snapshot)
    stored.changed = {subject: min(at, to) for subject, at in stored.changed.items()}
    return state.pack(_KIND, _VERSION, stored)


def _json_length(name: str) -> int:
    return len(msgspec.json.encode(name))
