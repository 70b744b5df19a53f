"""Reads the catalog topic."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from msgspec import Struct
from msgspec.structs import replace
from typing_extensions import override

from operators.envelope import CatalogPlace, CatalogUpdate, Origin, Rejected
from operators.io.kafka.client import Fetched, check_topics, range_of
from operators.io.kafka.fetch import SharedConsumer
from operators.io.kafka.group import place_of
from operators.io.kafka.identity import LogIdentity, TopicIds, check_logs
from operators.io.kafka.pace import Beat, Pace
from operators.io.kafka.timestamps import latest_times, written_at
from operators.io.metrics.kafka import KafkaMetrics
from operators.io.reading import unreadable
from operators.io.releases import Releases
from operators.logic.quarantine import InFlight
from schemas.catalog import CatalogEntry
from schemas.clock import Clock, micros
from schemas.codec import Flaw, decode
from schemas.settings import KafkaSettings
from schemas.state import pack, unpack
from schemas.topics import Topic

Item = tuple[str, CatalogUpdate]
Check = Callable[[CatalogEntry], Flaw | None]

_KIND, _VERSION = "kafka-catalog", 3
_OLDER = (1, 2)
_IDLE_WAIT = timedelta(milliseconds=50)
_SOON = timedelta(milliseconds=1)
_SOURCE = "catalog"
_PLACE = place_of(Topic.CATALOG, 0)


class CatalogOffset(Struct):
    """The next offset to read, and the log that it belongs to.

    ``newest`` is the latest timestamp of the records that were read, in microseconds since 1970.
    """

    offset: int
    log: LogIdentity = LogIdentity()
    newest: int = 0


def restore_catalog(snapshot: bytes) -> CatalogOffset:
    """Read where a snapshot goes on."""
    return unpack(_KIND, _VERSION, CatalogOffset, snapshot, older=_OLDER)


class CatalogPartition(StatefulSourcePartition[Item, bytes]):
    """The catalog topic's one partition; it is complete once ``end`` has been reached.

    Where nothing is new since the snapshot, that is so at once: no record waits for an answer of
    the broker then.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        shared: SharedConsumer,
        start: CatalogOffset,
        end: int,
        check: Check,
        clock: Clock,
        beat: Beat,
        releases: Releases,
    ) -> None:
        self._shared = shared
        self._releases = releases
        if releases.turns is not None:
            releases.turns.join(_SOURCE, first=True)
        self._check = check
        self._clock = clock
        self._beat = beat
        self._limit = settings.max_record_bytes
        self._inlet = shared.open(settings.topic(Topic.CATALOG), 0, start.offset, start.log)
        self._newest = start.newest
        self._end = end
        self._complete = False
        self._awake: datetime | None = None

    def next_batch(self) -> list[Item]:
        """Give new records, and once that the topic has been read to its end."""
        self._beat.note_poll()
        turns = self._releases.turns
        if turns is not None and not turns.begin(_SOURCE):
            self._awake = self._clock() + _SOON
            return []
        self._shared.poll()
        messages = self._inlet.take(10_000 if turns is None else turns.size(self._place()))
        if turns is not None and messages:
            turns.note_in_flight(self._part(messages))
        update = self._read(messages)
        if not (update.entries or update.rejected or update.complete > self._complete):
            self._awake = self._clock() + _IDLE_WAIT
            if turns is not None:
                self._awake = self._clock() + _SOON
                if self._complete:  # before that, steps hold back what waits for it
                    turns.passed(_SOURCE, self._place(), at_end=self._inlet.at_end)
            return []
        self._complete = update.complete
        self._awake = None
        self._releases.notes.release(self._place())
        return [("catalog", update)]

    def _read(self, messages: Sequence[Fetched]) -> CatalogUpdate:
        entries: list[CatalogEntry] = []
        rejected: list[Rejected] = []
        places: list[CatalogPlace] = []
        now = micros(self._clock())
        times = latest_times(messages, now)
        for message, at in zip(messages, times, strict=True):
            payload = message.value() or b""
            # A producer whose clock is behind appends later than it says.
            self._newest = max(self._newest, written_at(message, now))
            origin = Origin(Topic.CATALOG, 0, message.offset(), at)
            if self._releases.is_unreported(_PLACE, origin.offset):
                continue
            read = self._releases.rejected(_PLACE, origin, payload) or self._entry(origin, payload)
            if isinstance(read, Rejected):
                rejected.append(read)
            else:
                entries.append(read)
                places.append(CatalogPlace(origin, payload, self._newest))
        read_on = self._inlet.next_offset
        complete = self._complete or read_on >= self._end or self._inlet.at_end
        return CatalogUpdate(entries, rejected, complete, places)

    def _entry(self, origin: Origin, payload: bytes) -> CatalogEntry | Rejected:
        try:
            entry: CatalogEntry | Flaw = decode(Topic.CATALOG, payload, self._limit)
            flaw = entry if isinstance(entry, Flaw) else self._check(entry)
        except Exception as error:  # a fault of this release costs one record
            return unreadable(origin, payload, error, self._releases.notes)
        if flaw is not None:
            return Rejected(flaw.reason, origin, payload, flaw.field, flaw.detail)
        assert not isinstance(entry, Flaw)
        return entry

    def _place(self) -> dict[str, int]:
        return {_PLACE: self._inlet.next_offset}

    def _part(self, messages: Sequence[Fetched]) -> InFlight:
        return InFlight(
            source=_SOURCE,
            records=len(messages),
            record=(_PLACE, messages[0].offset()),
            end=self._place(),
        )

    def next_awake(self) -> datetime | None:
        """Look for updates every 50 milliseconds."""
        return self._beat.next_poll(self._awake)

    def snapshot(self) -> bytes:
        """Keep the next offset to read."""
        self._beat.note_epoch_end()
        state = CatalogOffset(self._inlet.next_offset, self._inlet.identity(), self._newest)
        return pack(_KIND, _VERSION, state)


class CatalogSource(FixedPartitionedSource[Item, bytes]):
    """The catalog as ``("catalog", CatalogUpdate)``; an empty topic is complete at once.

    ``check`` says what is wrong with a record that decodes, if anything; ``pace`` is that of the
    flow's sources.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        check: Check,
        clock: Clock,
        pace: Pace | None = None,
        metrics: KafkaMetrics | None = None,
        ids: TopicIds | None = None,
        releases: Releases | None = None,
    ) -> None:
        self._settings = settings
        self._releases = releases or Releases()
        self._metrics = metrics or KafkaMetrics()
        self._ids = ids or TopicIds(settings, self._metrics)
        self._check = check
        self._clock = clock
        self._beat = (pace or Pace(clock)).beat()
        self._opened: tuple[SharedConsumer, int, int] | None = None

    def list_parts(self) -> list[str]:
        """Connect, and give the only partition.

        Bytewax begins a source's first epoch before it opens its partitions: what takes long then
        would be waited for by all sources at the end of that epoch.
        """
        self._connect()
        return [_SOURCE]

    @override
    def build_part(
        self, step_id: str, for_part: str, resume_state: bytes | None
    ) -> StatefulSourcePartition[Item, bytes]:
        """Open the topic where the snapshot says, or at its beginning.

        Raises :class:`~operators.io.kafka.client.KafkaTrouble` where it was made anew since.
        """
        settings, ids, name = self._settings, self._ids, Topic.CATALOG.value
        shared, first, end = self._connect()
        state = None if resume_state is None else restore_catalog(resume_state)
        if state is not None:
            check_logs(settings, ids, 0, {name: state.offset}, {name: state.log}, self._metrics)
        topic = settings.topic(Topic.CATALOG)
        log = ids.now(topic, None if state is None else state.log)
        start = replace(state or CatalogOffset(first), log=log)
        return CatalogPartition(
            settings,
            shared,
            start,
            end,
            self._check,
            self._clock,
            self._beat,
            self._releases,
        )

    def _connect(self) -> tuple[SharedConsumer, int, int]:
        """Give the consumer, and the first offset of the topic and its end; once."""
        if self._opened is None:
            settings, topic = self._settings, self._settings.topic(Topic.CATALOG)
            shared = SharedConsumer(settings, metrics=self._metrics)
            check_topics(settings, shared.consumer, [Topic.CATALOG], self._metrics)
            self._ids.of(topic)
            ends = range_of(settings, shared.consumer, topic, 0, self._metrics)
            self._opened = (shared, *ends)
        return self._opened
