"""Reads topics into batches: aligned partition groups, or single topic partitions."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from typing_extensions import override

from operators.io.kafka.client import Fetched, check_topics, logger
from operators.io.kafka.fetch import AHEAD, SharedConsumer
from operators.io.kafka.group import GroupPartition, Item, restore
from operators.io.kafka.identity import TopicIds, check_logs
from operators.io.kafka.pace import Pace
from operators.io.kafka.searching import SearchingPartition
from operators.io.kafka.timestamps import SteadyClock, behind
from operators.io.kafka.turns import ArrivalTurns, ClockTurns, Turns
from operators.io.metrics.kafka import KafkaMetrics
from operators.io.reading import Read, by_column, resilient
from operators.io.releases import Releases
from operators.logic.placement import ALONE, WorkerPlace, shard_key
from schemas.clock import ALWAYS, NEVER, Clock, moment
from schemas.settings import EventTimeSettings, KafkaSettings
from schemas.topics import GROUP, Topic

Start = Literal["beginning", "end"]

HasUnread = Callable[[int, int], bool]
"""Says whether decisions were written to a partition at an offset or behind it."""

AnsweredUntil = Callable[[int], int]
"""Gives the event time up to which a shard's requests are answered."""

_BATCH_TURN = 0.05
"""Seconds between the turns of sources that no decision waits for."""


def nothing_unread(shard: int, offset: int) -> bool:
    """Say that nobody writes decisions here."""
    return False


def nothing_unanswered(shard: int) -> int:
    """Say that nobody answers requests here."""
    return ALWAYS


class KafkaSource(FixedPartitionedSource[Item, bytes]):
    """Topic partitions in groups; all groups of a process share one consumer.

    Each item is ``(key, Batch)``. With ``bounded`` a group ends when it has been read to
    its end; its last batch has the watermark ``ALWAYS``. ``pace`` is that of the flow's sources;
    ``has_unread`` tells of what it writes and has not read back, ``answered_until`` of requests
    that it has answered.
    """

    ahead = AHEAD
    """Kilobytes that the client fetches before they are asked for."""

    def __init__(
        self,
        settings: KafkaSettings,
        time: EventTimeSettings,
        read: Read,
        clock: Clock,
        groups: Mapping[str, tuple[int, Sequence[Topic]]],
        start: Start = "beginning",
        bounded: bool = False,
        turns: Turns | None = None,
        pace: Pace | None = None,
        metrics: KafkaMetrics | None = None,
        ids: TopicIds | None = None,
        releases: Releases | None = None,
        has_unread: HasUnread = nothing_unread,
        answered_until: AnsweredUntil = nothing_unanswered,
    ) -> None:
        self.settings = settings
        self._has_unread = has_unread
        self._answered_until = answered_until
        self.releases = releases or Releases()
        self.time = time
        self.metrics = metrics or KafkaMetrics()
        self._ids = ids or TopicIds(settings, self.metrics)
        self.clock = clock
        self.present = SteadyClock(clock)
        self.beat = (pace or Pace(clock)).beat()
        self.read_many = resilient(by_column(read), read, self.releases.notes)
        self.bounded = bounded
        self.turns = turns or ArrivalTurns(clock)
        self._groups = groups
        self._start = start
        self._shared: SharedConsumer | None = None
        self._built: list[GroupPartition] = []
        self._has_create_time = self._is_behind = False

    def list_parts(self) -> list[str]:
        """Give the keys of the groups."""
        return list(self._groups)

    @override
    def build_part(
        self, step_id: str, for_part: str, resume_state: bytes | None
    ) -> StatefulSourcePartition[Item, bytes]:
        """Open a group where its snapshot says, or at the start.

        Raises :class:`~operators.io.kafka.client.KafkaTrouble` where a topic was made anew since.
        """
        shard, topics = self._groups[for_part]
        state = restore(resume_state)
        shared = self._connect()
        check_logs(self.settings, self._ids, shard, state.offsets, state.logs, self.metrics)
        inlets = {
            topic: shared.open(
                self.settings.topic(topic),
                shard,
                state.offsets.get(topic.value),
                self._ids.now(self.settings.topic(topic), state.logs.get(topic.value)),
                end=self._start == "end",
            )
            for topic in topics
        }
        self._check_watermark(for_part, state.watermark)
        turns = self.releases.turns
        part = (
            GroupPartition(self, for_part, shard, inlets, state.watermark)
            if turns is None
            else SearchingPartition(self, for_part, shard, inlets, state.watermark, turns)
        )
        self._built.append(part)
        return part

    def item_key(self, part: str, shard: int) -> str:  # noqa: ARG002
        """Give the name of the source partition."""
        return part

    def poll(self, wait: float = 0.0) -> None:
        """Fetch for all groups of this process; wait so many seconds for something to come."""
        self._connect().poll(wait)

    def slowest(self) -> int:
        """Give the smallest watermark of the groups that have had an event (``NEVER``: none)."""
        with_events = [part.alignment for part in self._built if not part.alignment.silent]
        return min((alignment.watermark for alignment in with_events), default=NEVER)

    def has_unread(self, shard: int, offset: int) -> bool:
        """Say whether decisions were written to a shard at this offset or behind it."""
        return self._has_unread(shard, offset)

    def answered_until(self, shard: int) -> int:
        """Give the event time up to which a shard's requests are answered."""
        return self._answered_until(shard)

    def note_create_time(self, topic: Topic) -> None:
        """Say once that a backlog is not protected from a producer whose clock is ahead."""
        if not self._has_create_time:
            self._has_create_time = True
            logger.warning(
                "topic %r keeps the times that producers set (CreateTime), which prove nothing: "
                "while it is read live, records are held against this machine's clock; a backlog "
                "is not protected from records dated ahead. `banditflow topics check` says which "
                "topics to change, and how",
                self.settings.topic(topic),
            )

    def check_clock(self, messages: Sequence[Fetched]) -> None:
        """Say once that our clock is so far behind the broker's that records of now are refused."""
        late = behind(messages, self.present())
        if late > round(self.time.max_skew * 1e6) and not self._is_behind:
            self._is_behind = True
            logger.warning(
                "this machine's clock is %d s behind the broker's, more than BANDITFLOW_MAX_SKEW: "
                "records with the right time are refused as time_in_future. Set it right, or the "
                "broker's if that is ahead, and start the flow again",
                late // 10**6,
            )

    def _check_watermark(self, part: str, watermark: int) -> None:
        """Say that a partition's time was ahead of our clock when it was last read."""
        if self.present() + round(self.time.max_skew * 1e6) < watermark < ALWAYS:
            logger.warning(
                "partition %s was left at %s, which is ahead of this machine's clock: its time "
                "stands still until then, and requests are refused as stale (stale_request). "
                "If no clock is wrong any more, stop the flow, run `banditflow state "
                "lower-watermark`, and start it again",
                part,
                f"{moment(watermark):%Y-%m-%d %H:%M:%S} UTC",
            )

    def _connect(self) -> SharedConsumer:
        if self._shared is None:
            self._shared = SharedConsumer(self.settings, self.ahead, self.metrics)
            topics = {topic for _, group in self._groups.values() for topic in group}
            client = self._shared.consumer
            check_topics(self.settings, client, sorted(topics), self.metrics)
        return self._shared


class GroupSource(KafkaSource):
    """Partition k of all the group's topics as one source partition ``str(k)``, aligned by time.

    A worker reads the partitions whose shards are its own.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        time: EventTimeSettings,
        read: Read,
        clock: Clock,
        topics: Sequence[Topic] = GROUP,
        start: Start = "beginning",
        bounded: bool = False,
        place: WorkerPlace = ALONE,
        pace: Pace | None = None,
        metrics: KafkaMetrics | None = None,
        ids: TopicIds | None = None,
        releases: Releases | None = None,
        has_unread: HasUnread = nothing_unread,
        answered_until: AnsweredUntil = nothing_unanswered,
    ) -> None:
        groups = {str(k): (k, topics) for k in range(settings.partitions) if place.owns(k)}
        super().__init__(
            settings,
            time,
            read,
            clock,
            groups,
            start,
            bounded,
            pace=pace,
            metrics=metrics,
            ids=ids,
            releases=releases,
            has_unread=has_unread,
            answered_until=answered_until,
        )

    def item_key(self, part: str, shard: int) -> str:  # noqa: ARG002
        """Give the key of the shard, by which steps keep their state."""
        return shard_key(shard)


class TopicSource(KafkaSource):
    """Each partition of each topic as a source partition ``topic/k``, in offset order per batch.

    What comes within 50 milliseconds is one batch.
    """

    ahead = 4_096

    def __init__(
        self,
        settings: KafkaSettings,
        time: EventTimeSettings,
        read: Read,
        clock: Clock,
        topics: Sequence[Topic],
        start: Start = "beginning",
        bounded: bool = False,
        pace: Pace | None = None,
        metrics: KafkaMetrics | None = None,
        ids: TopicIds | None = None,
        releases: Releases | None = None,
    ) -> None:
        groups = {
            f"{topic.value}/{k}": (k, [topic])
            for topic in topics
            for k in range(settings.partitions_of(topic))
        }
        super().__init__(
            settings,
            time,
            read,
            clock,
            groups,
            start,
            bounded,
            ClockTurns(clock, _BATCH_TURN),
            pace,
            metrics,
            ids,
            releases,
        )

    def poll(self, wait: float = 0.0) -> None:
        """Fetch when what was fetched before is nearly used up: no topic waits for another."""
        if self._connect().waiting < self.settings.batch_size:
            super().poll(wait)

    def slowest(self) -> int:
        """Topics of different kinds say nothing of each other's time."""
        return NEVER

    def note_create_time(self, topic: Topic) -> None:
        """Note nothing: records come by their offsets."""

    def _check_watermark(self, part: str, watermark: int) -> None:
        """Leave it: the watermark is an offset."""
