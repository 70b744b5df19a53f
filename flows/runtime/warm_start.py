"""A start from the store: a recovery store made anew from checkpoints, where the old one is lost.

What the personalize flow knows of settled decisions is in the store's checkpoints; all that is
younger is in the topics, as far as they reach back. So a start reads the topics again from the
first decision on that no checkpoint counts, and attribution leaves out those that one counts
(``ops/adr/0008-checkpoints-of-settled-decisions.md``).
"""

import base64
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from msgspec import structs

from flows.personalize import Steps
from flows.registry import PERSONALIZE
from flows.runtime.clock import system_clock
from flows.runtime.recovery import RecoveryError, recovery_folder
from flows.runtime.seeding import Seeds, write_recovery
from operators.attribute import AttributeState, pack_attribute
from operators.decide.admission import begin_admission
from operators.io.kafka.group import begin_at
from operators.io.kafka.partition import read_partition
from operators.io.kafka.starts import FirstRecord, Start, first_records, starts
from operators.io.segments import segment_folders
from operators.io.store.open import open_store
from operators.io.store.protocol import Store, StoredRow
from operators.learner_state import LEARNER_STATE, OLDER_LEARNERS, pack_learner, unpack_learner
from operators.logic.attribution import AttributionState
from operators.logic.catalog import CatalogHistory
from operators.logic.catalog_check import read_entry
from operators.logic.placement import shard_key
from operators.logic.policy_versions import above_published
from operators.logic.subject_windows import name_span
from schemas.catalog import Slot
from schemas.clock import NEVER, micros, moment
from schemas.settings import Settings
from schemas.state import StateError, check_format
from schemas.topics import Topic

_READ_WHOLE = (Topic.CONSENTS,)
"""Who consents is nowhere else: this topic is read from its beginning."""


_OF_A_LEARNER = f"{LEARNER_STATE.kind}/".encode()


class WarmStartError(RuntimeError):
    """There is nothing to start from; the message says what to do."""


@dataclass(frozen=True)
class Checkpoint:
    """What a slot's learner had learned from every decision whose window had closed by ``time``.

    ``time`` is in microseconds since 1970; ``state`` is a learner's snapshot.
    """

    slot_id: str
    time: int
    decisions: float
    state: bytes


@dataclass(frozen=True)
class MissingRecords:
    """A topic partition that does not reach back far enough: both times in microseconds."""

    topic: Topic
    shard: int
    needed: int
    first: FirstRecord

    def __str__(self) -> str:
        """Say it in a sentence."""
        since = "holds nothing" if self.first.time is None else f"begins {_clock(self.first.time)}"
        return (
            f"{self.topic}/{self.shard} {since} (offset {self.first.offset}), needed from "
            f"{_clock(self.needed)}: what was decided, shown or clicked before is not learned again"
        )


@dataclass(frozen=True)
class WarmStart:
    """Where a flow begins: checkpoints by slot, offsets by shard, and what the topics lost.

    ``without`` are the catalog's other slots.
    """

    checkpoints: dict[str, Checkpoint]
    offsets: dict[int, dict[Topic, int]]
    since: int
    without: list[str] = field(default_factory=list)
    missing: list[MissingRecords] = field(default_factory=list)

    def describe(self) -> list[str]:
        """Give lines for people."""
        lines = [
            f"slot {checkpoint.slot_id}: {checkpoint.decisions:,.0f} settled decisions "
            f"up to {_clock(checkpoint.time)}"
            for checkpoint in self.checkpoints.values()
        ]
        lines += [
            f"slot {slot_id}: no checkpoint: it learns from the topics alone"
            for slot_id in self.without
        ]
        lines.append(f"topics are read again from {_clock(self.since)}")
        return lines + [f"LOST: {missing}" for missing in self.missing]


def before_run(settings: Settings, flow: str, from_store: bool) -> None:
    """Prepare a run: begin from the store where that is asked for and there is nothing newer.

    Where the recovery store is empty and topics have lost their beginnings, a run without
    ``from_store`` says what it will not know.
    """
    if flow != PERSONALIZE.name or not settings.state.recovery or not _is_empty(_folder(settings)):
        return
    if from_store:
        for line in warm_start(settings).describe():
            print(f"{flow}: from the store: {line}", file=sys.stderr, flush=True)
        return
    firsts = first_records(settings.kafka, [Topic.DECISIONS], system_clock)
    cut_short = [first for first in firsts if first.offset > 0]
    if cut_short:
        topics = settings.kafka
        places = ", ".join(f"{topics.topic(first.topic)}/{first.shard}" for first in cut_short)
        print(
            f"{flow}: the recovery store is empty and the topics no longer hold their beginning "
            f"({places}): what was learned before is not known. `banditflow run {flow} "
            "--from-store` begins with what the store has",
            file=sys.stderr,
            flush=True,
        )


def warm_start(settings: Settings) -> WarmStart:
    """Make the recovery store of the personalize flow from the store and the topics' offsets.

    Raises :class:`WarmStartError` where the store has no checkpoint, and
    :class:`~flows.runtime.recovery.RecoveryError` where there is a recovery store already.
    """
    folder = _folder(settings)
    if not settings.state.recovery or not _is_empty(folder):
        raise RecoveryError(
            f"{folder}: a start from the store needs BANDITFLOW_RECOVERY to be set, and no recovery"
            " store in it: one that is there knows more"
        )
    store = open_store(settings.store)
    try:
        slots = _slots(settings)
        checkpoints = {
            checkpoint.slot_id: checkpoint
            for slot_id in slots
            for checkpoint in newest(store, slot_id)
        }
        versions = {slot_id: _version(store, slot_id) for slot_id in checkpoints}
    finally:
        store.close()
    if not checkpoints:
        raise WarmStartError(
            "the store has no complete checkpoint of any slot in the catalog: run without "
            "--from-store, and the flow learns from what the topics hold"
        )
    start = _begin(settings, slots, checkpoints)
    _write(settings, folder, start, versions, len(checkpoints) == len(slots))
    return start


def newest(store: Store, slot_id: str) -> list[Checkpoint]:
    """Give a slot's newest complete checkpoint, or nothing."""
    complete: list[Checkpoint] = []
    rows = store.checkpoint(slot_id)
    for generation in {row["generation"] for row in rows}:
        parts = [row for row in rows if row["generation"] == generation]
        time = max(row["time"] for row in parts)
        complete += _whole(slot_id, [row for row in parts if row["time"] == time])
    return sorted(complete, key=lambda checkpoint: checkpoint.time)[-1:]


def _whole(slot_id: str, rows: Sequence[StoredRow]) -> list[Checkpoint]:
    """Put a checkpoint's parts together; nothing where some are missing, or it is no learner's.

    Raises :class:`schemas.state.StateError` where it is of a release that this one cannot read.
    """
    parts = sorted(rows, key=lambda row: int(row["part"]))
    numbers = [row["part"] for row in parts]
    if parts[0]["parts"] != len(parts) or numbers != list(range(len(parts))):
        return []
    state = _learner_of("".join(row["state"] for row in parts), slot_id)
    if state is None:
        return []
    time = parts[0]["time"]
    return [Checkpoint(slot_id, micros(time), parts[0]["decisions"], state)]


def _learner_of(text: str, slot_id: str) -> bytes | None:
    """Read a learner's snapshot of this slot; None for what somebody else wrote in its place."""
    try:
        state = base64.b64decode(text)
    except ValueError:
        return None
    if not state.startswith(_OF_A_LEARNER):
        return None
    check_format(*LEARNER_STATE, state, older=OLDER_LEARNERS)
    try:
        return state if unpack_learner(state).slot.slot_id == slot_id else None
    except StateError:
        return None


def _begin(
    settings: Settings, slots: dict[str, "_SlotSpan"], checkpoints: dict[str, Checkpoint]
) -> WarmStart:
    """Find where the first decision may lie that no checkpoint counts.

    Those before it in its window of the slot's subject limit are read, too: they say whether it
    teaches.
    """
    needed, counted = [], []
    for slot_id, known in slots.items():
        checkpoint = checkpoints.get(slot_id)
        begin = known.since if checkpoint is None else checkpoint.time + 1 - known.window
        needed.append(begin)
        counted.append(begin - known.limited if checkpoint else begin)
    max_skew = round(settings.time.max_skew * 1e6)
    lost_after, since = min(needed) - max_skew, min(counted) - max_skew
    offsets: dict[int, dict[Topic, int]] = {}
    missing: list[MissingRecords] = []
    cut_short = [topic for topic in PERSONALIZE.resumes if topic not in _READ_WHOLE]
    for start in starts(settings.kafka, cut_short, since, system_clock):
        offsets.setdefault(start.shard, {})[start.topic] = start.offset
        missing += _missing(start, lost_after)
    for first in first_records(settings.kafka, _READ_WHOLE, system_clock):
        offsets[first.shard][first.topic] = first.offset
    without = [slot_id for slot_id in slots if slot_id not in checkpoints]
    return WarmStart(checkpoints, offsets, since, without, missing)


def _missing(start: Start, since: int) -> Iterable[MissingRecords]:
    first = start.first
    if (
        first.offset > 0
        and start.offset <= first.offset
        and (first.time is None or first.time > since)
    ):
        yield MissingRecords(start.topic, start.shard, since, first)


def _write(
    settings: Settings, folder: Path, start: WarmStart, versions: dict[str, int], every_slot: bool
) -> None:
    checkpoints = start.checkpoints
    counted = {slot_id: checkpoint.time for slot_id, checkpoint in checkpoints.items()}
    horizon = min(counted.values()) + 1 if every_slot else NEVER
    attribution = AttributionState(horizon=horizon, counted=counted)
    shards = range(settings.kafka.partitions)
    seeds: Seeds = {
        Steps.ATTRIBUTION: {
            shard_key(k): pack_attribute(AttributeState(k, attribution)) for k in shards
        },
        Steps.LEARNERS: {
            slot_id: _continued(checkpoint.state, versions[slot_id])
            for slot_id, checkpoint in checkpoints.items()
        },
        Steps.ADMISSION: {shard_key(k): begin_admission(sorted(counted)) for k in shards},
    }
    sources = {str(k): begin_at(start.offsets[k]) for k in shards}
    temporary = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(temporary, ignore_errors=True)
    write_recovery(temporary, PERSONALIZE.name, Steps.RECORDS, sources, seeds)
    shutil.rmtree(folder, ignore_errors=True)
    for segments in segment_folders(settings.state.recovery):  # of the store that was lost
        shutil.rmtree(segments, ignore_errors=True)
    temporary.rename(folder)


def _continued(snapshot: bytes, version: int) -> bytes:
    """Let versions go on above what the store, and so any reader, has seen."""
    state = unpack_learner(snapshot)
    return pack_learner(structs.replace(state, version=above_published(state.version, version + 1)))


@dataclass
class _SlotSpan:
    """A slot's longest reward window and first time, in microseconds.

    ``limited`` is the longest window that its decisions are counted in by subject.
    """

    window: int = 0
    limited: int = 0
    since: int = -NEVER


def _slots(settings: Settings) -> dict[str, _SlotSpan]:
    """Read the slots that the catalog has now, whatever it is to have later."""
    slots: dict[str, _SlotSpan] = {}
    history = CatalogHistory()
    for payload, _, _, _ in read_partition(settings.kafka, Topic.CATALOG, 0, system_clock):
        entry = read_entry(payload, settings.kafka.max_record_bytes)
        if isinstance(entry, Slot):
            known = slots.setdefault(entry.slot_id, _SlotSpan())
            known.window = max(known.window, round(entry.reward_window * 1e6))
            known.limited = max(known.limited, name_span(entry) or 0)
            known.since = min(known.since, micros(entry.time))
            history.add(entry)
    there = history.as_of(micros(system_clock())).slots
    return {slot_id: known for slot_id, known in slots.items() if slot_id in there}


def _version(store: Store, slot_id: str) -> int:
    policy = store.policy(slot_id)
    return 0 if policy is None else int(policy["version"])


def _folder(settings: Settings) -> Path:
    return recovery_folder(settings, PERSONALIZE.name)


def _is_empty(folder: Path) -> bool:
    return not list(folder.glob("part-*.sqlite3"))


def _clock(time: int) -> str:
    at: datetime = moment(time)
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"
