"""Reads a deployment's topics and what its personalize flow kept when its last epoch closed."""

from collections.abc import Iterator

from msgspec import Struct, field

from flows.personalize import Steps
from flows.registry import PERSONALIZE
from flows.runtime.clock import system_clock
from flows.runtime.recovery import RecoveryError, check_stopped
from flows.runtime.snapshots import States, states_of
from operators.attach_catalog import unpack_attach
from operators.attribute import unpack_attribute
from operators.decide.admission import unpack_admission
from operators.decode import reader
from operators.envelope import Event
from operators.io.kafka.group import restore
from operators.io.kafka.partition import read_partition
from operators.io.releases import PROCESSING_ERROR
from operators.io.segments import PENDING, ReadOnlyFiles, segment_folder
from operators.logic.attribution import AttributionState
from operators.logic.attribution.ledger import Ledger
from operators.logic.catalog import CatalogHistory
from operators.logic.catalog_check import read_entry
from operators.logic.placement import shard_key
from operators.logic.state.segments import SegmentError
from schemas.clock import ALWAYS, micros
from schemas.codec import Flaw, decode, record_limit
from schemas.results import DeadLetter
from schemas.settings import Settings
from schemas.topics import Topic

TopicOffset = tuple[str, int]
"""Topic and offset of a record of a shard."""


_ATTEMPTS = 10
"""How often the snapshots of a running flow are read at most, until their segments are there."""


class DeadLetters(Struct):
    """What became of a shard's rejected records, by their place.

    ``reasons`` says why each was rejected. ``latest`` is the latest time that a record might bear
    which was refused for a later one (``time_in_future``).
    """

    reasons: dict[TopicOffset, str] = field(default_factory=dict)
    latest: dict[TopicOffset, int] = field(default_factory=dict)


class Cut(Struct):
    """What one shard had taken in at its snapshot: records before ``offsets`` but for ``held``.

    ``waiting`` are the keys of requests that wait for a policy.
    """

    offsets: dict[Topic, int]
    held: set[TopicOffset]
    waiting: set[int]
    ledger: Ledger

    def includes(self, event: Event) -> bool:
        """Say whether an event had been taken in."""
        topic, offset = Topic(event.origin.topic), event.origin.offset
        return offset < self.offsets.get(topic, 0) and (str(topic), offset) not in self.held


def read_cuts(settings: Settings) -> tuple[States, list[Cut]]:
    """Read the snapshots of the personalize flow, and every shard's part of them.

    A running flow deletes segment files that its newer snapshots do not need: where one is gone,
    the snapshots are read again, while there are newer ones, some times.

    Raises :class:`RecoveryError` where that was in vain beside a running flow, and
    :class:`SegmentError` where a stopped one lacks a file.
    """
    states = states_of(settings, PERSONALIZE)
    for attempt in range(_ATTEMPTS):
        try:
            return states, [
                cut_of(settings, states, shard) for shard in range(settings.kafka.partitions)
            ]
        except SegmentError as error:
            before, states = states, states_of(settings, PERSONALIZE)
            if states == before or attempt == _ATTEMPTS - 1:
                _refuse_while_running(settings, error)
                raise
    raise AssertionError("the last attempt returns or raises")


def _refuse_while_running(settings: Settings, error: SegmentError) -> None:
    """Say what to do about a segment file that cannot be read beside a running flow."""
    try:
        check_stopped(settings, PERSONALIZE.name)
    except RecoveryError:
        raise RecoveryError(
            f"the state of {PERSONALIZE.name} in {settings.state.recovery} (BANDITFLOW_RECOVERY) "
            "could not be read whole while that flow goes on: try again, or stop it first"
        ) from error


def cut_of(settings: Settings, states: States, shard: int) -> Cut:
    """Read a shard's part of the snapshots."""
    key = shard_key(shard)
    source = restore(states.get(Steps.RECORDS, {}).get(str(shard)))
    held_back = states.get(Steps.HOLD, {}).get(key)
    requests = states.get(Steps.ADMISSION, {}).get(key)
    admission = unpack_attach(held_back) if held_back else None
    held = [*admission.held, *admission.gathered] if admission else []
    waiting = unpack_admission(requests).waiting if requests else []
    return Cut(
        {Topic(name): offset for name, offset in source.offsets.items()},
        {(topic, offset) for batch in held for topic, _, offset, _ in batch.records},
        {request.key for request in waiting},
        ledger_of(settings, states, shard),
    )


def ledger_of(settings: Settings, states: States, shard: int) -> Ledger:
    """Read a shard's attribution, with the decisions that lie in segments beside the store."""
    snapshot = states.get(Steps.ATTRIBUTION, {}).get(shard_key(shard))
    state = unpack_attribute(snapshot).attribution if snapshot else AttributionState()
    return Ledger(settings.state.max_orphans, state, segments_of(settings, PENDING, shard))


def segments_of(settings: Settings, step: str, shard: int) -> ReadOnlyFiles | None:
    """Look at the segment files of a step's shard."""
    folder = segment_folder(settings.state.recovery, step)
    return None if folder is None else ReadOnlyFiles(folder, shard)


def catalog_of(settings: Settings) -> CatalogHistory:
    """Read the catalog as the flow does: what it refuses is left out."""
    history = CatalogHistory()
    reasons = dead_letters_of(settings, 0).reasons
    for payload, _, offset, _ in read_partition(settings.kafka, Topic.CATALOG, 0, system_clock):
        entry = read_entry(payload, settings.kafka.max_record_bytes)
        if reasons.get((Topic.CATALOG.value, offset)) == PROCESSING_ERROR:
            continue
        if not isinstance(entry, Flaw):
            history.add(entry)
    return history


def dead_letters_of(settings: Settings, shard: int) -> DeadLetters:
    """Read the dead letters of a shard; of two for one record the first counts.

    A letter without a record, about a piece that a step has dropped, is about none of them.
    """
    letters = DeadLetters()
    limit = record_limit(Topic.DEAD_LETTERS, settings.kafka.max_record_bytes)
    for payload, _, _, _ in read_partition(settings.kafka, Topic.DEAD_LETTERS, shard, system_clock):
        letter = decode(Topic.DEAD_LETTERS, payload, limit)
        if not isinstance(letter, DeadLetter) or letter.partition != shard:
            continue
        if letter.reason != PROCESSING_ERROR or letter.size:
            place = (letter.topic, letter.offset)
            if letters.reasons.setdefault(place, letter.reason) == "time_in_future" and letter.time:
                letters.latest.setdefault(place, micros(letter.time))
    return letters


def events(settings: Settings, topic: Topic, shard: int, letters: DeadLetters) -> Iterator[Event]:
    """Read a partition's records as the flow does; what it could not read is left out.

    Whether a record was dated ahead depended on the clock when it was read, which only its dead
    letter knows: it is taken at its word where the two times bear it out.
    """
    read, max_skew = reader(settings), round(settings.time.max_skew * 1e6)
    for payload, key, offset, _ in read_partition(settings.kafka, topic, shard, system_clock):
        event = read(topic, shard, key, payload, offset, ALWAYS)
        if isinstance(event, Event):
            latest = letters.latest.get((topic.value, offset), ALWAYS)
            if event.at <= latest + max_skew:
                event.payload = b""
                yield event
