"""Reads the catalog topic."""

from collections.abc import Callable
from datetime import datetime, timedelta

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from msgspec import Struct
from typing_extensions import override

from operators.envelope import CatalogUpdate, Origin, Rejected
from operators.io.kafka.client import check_topics
from operators.io.kafka.fetch import SharedConsumer
from operators.io.kafka.identity import LogIdentity, TopicIds, check_logs
from operators.io.kafka.pace import Beat, Pace
from operators.io.kafka.timestamps import latest_times
from operators.io.metrics.kafka import KafkaMetrics
from schemas.catalog import CatalogEntry
from schemas.clock import Clock, micros
from schemas.codec import Flaw, decode
from schemas.settings import KafkaSettings
from schemas.state import pack, unpack
from schemas.topics import Topic

Item = tuple[str, CatalogUpdate]
Check = Callable[[CatalogEntry], Flaw | None]

_KIND, _VERSION = "kafka-catalog", 2
_WITHOUT_LOG = (1,)
_IDLE_WAIT = timedelta(milliseconds=20)


class CatalogOffset(Struct):
    """The next offset to read, and the log that it belongs to."""

    offset: int
    log: LogIdentity = LogIdentity()


class CatalogPartition(StatefulSourcePartition[Item, bytes]):
    """The catalog topic's one partition."""

    def __init__(
        self,
        settings: KafkaSettings,
        shared: SharedConsumer,
        offset: int | None,
        log: LogIdentity,
        check: Check,
        clock: Clock,
        beat: Beat,
    ) -> None:
        self._shared = shared
        self._check = check
        self._clock = clock
        self._beat = beat
        self._limit = settings.max_record_bytes
        self._inlet = shared.open(settings.topic(Topic.CATALOG), 0, offset, log)
        self._complete = False
        self._awake: datetime | None = None

    def next_batch(self) -> list[Item]:
        """Give new records, and once that the topic has been read to its end."""
        self._beat.note_poll()
        self._shared.poll()
        entries, rejected, places = [], [], []
        for message in self._inlet.take(10_000):
            payload = message.value() or b""
            found = decode(Topic.CATALOG, payload, self._limit)
            flaw = found if isinstance(found, Flaw) else self._check(found)
            (time,) = latest_times([message], micros(self._clock()))
            origin = Origin(Topic.CATALOG, 0, message.offset(), time)
            if flaw is not None:
                rejected.append(Rejected(flaw.reason, origin, payload, flaw.field, flaw.detail))
            else:
                entries.append(found)
                places.append((origin, payload))
        completed = not self._complete and self._inlet.at_end
        self._complete = self._complete or completed
        if not (entries or rejected or completed):
            self._awake = self._clock() + _IDLE_WAIT
            return []
        self._awake = None
        update = CatalogUpdate(entries, rejected, self._complete, places)
        return [("catalog", update)]

    def next_awake(self) -> datetime | None:
        """Look for updates every 20 milliseconds."""
        return self._beat.next_poll(self._awake)

    def snapshot(self) -> bytes:
        """Keep the next offset to read."""
        self._beat.note_epoch_end()
        state = CatalogOffset(self._inlet.next_offset, self._inlet.identity())
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
    ) -> None:
        self._settings = settings
        self._metrics = metrics or KafkaMetrics()
        self._ids = ids or TopicIds(settings, self._metrics)
        self._check = check
        self._clock = clock
        self._beat = (pace or Pace(clock)).beat()

    def list_parts(self) -> list[str]:
        """Give the only partition."""
        return ["catalog"]

    @override
    def build_part(
        self, step_id: str, for_part: str, resume_state: bytes | None
    ) -> StatefulSourcePartition[Item, bytes]:
        """Open the topic where the snapshot says, or at its beginning.

        Raises :class:`~operators.io.kafka.client.KafkaTrouble` where it was made anew since.
        """
        settings, ids, name = self._settings, self._ids, Topic.CATALOG.value
        shared = SharedConsumer(settings, metrics=self._metrics)
        check_topics(settings, shared.consumer, [Topic.CATALOG], self._metrics)
        offset, log = None, LogIdentity()
        if resume_state is not None:
            state = unpack(_KIND, _VERSION, CatalogOffset, resume_state, older=_WITHOUT_LOG)
            offset, log = state.offset, state.log
            check_logs(settings, ids, 0, {name: offset}, {name: log}, self._metrics)
        log = ids.now(settings.topic(Topic.CATALOG), log)
        return CatalogPartition(settings, shared, offset, log, self._check, self._clock, self._beat)
