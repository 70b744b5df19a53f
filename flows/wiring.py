"""Makes the sources and sinks of every flow from the settings."""

from collections.abc import Sequence
from functools import partial

from operators.decode import reader
from operators.io.kafka import CatalogSource, GroupSource, KafkaSink, SharedProducer, TopicSource
from operators.io.kafka.identity import TopicIds
from operators.io.kafka.pace import Pace
from operators.io.kafka.published import PublishedVersions
from operators.io.metrics.root import Metrics
from operators.io.reading import Read
from operators.io.redis import RedisSink
from operators.io.releases import Releases
from operators.io.store.open import open_store
from operators.logic.answer_window import AnswerProgress
from operators.logic.catalog_check import flaw_of
from operators.logic.placement import ALONE, WorkerPlace, shard_key
from operators.persist import StoreSink
from operators.publish import FENCES
from schemas.clock import Clock
from schemas.settings import Settings
from schemas.topics import Topic


class Wiring:
    """The sources and sinks that settings describe, for one worker process of a flow.

    ``place`` says which of the processes it is, ``executions`` how many executions on the flow's
    recovery store came before. They report to ``metrics`` and read the time from
    ``clock``, as the steps do. Nothing is connected before Bytewax opens it.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        metrics: Metrics,
        place: WorkerPlace = ALONE,
        releases: Releases | None = None,
        executions: int = 0,
    ) -> None:
        self.settings = settings
        self.executions = executions
        self.metrics = metrics
        self.clock = clock
        self._place = place
        self._releases = releases or Releases()
        self._producer = SharedProducer(settings.kafka, metrics.kafka)
        self._ids = TopicIds(settings.kafka, metrics.kafka)
        self.answers = AnswerProgress()
        epoch = settings.state.epoch if self._releases.turns is None else 0.0
        self._pace = Pace(clock, epoch, place == ALONE)

    def events(self) -> GroupSource:
        """Read the events of visitors: partition k of all their topics, aligned by event time."""
        return GroupSource(
            self.settings.kafka,
            self.settings.time,
            reader(self.settings),
            self.clock,
            place=self._place,
            pace=self._pace,
            metrics=self.metrics.kafka,
            ids=self._ids,
            releases=self._releases,
            has_unread=partial(self._producer.has_unread, Topic.DECISIONS),
            answered_until=self._answered_until,
        )

    def _answered_until(self, shard: int) -> int:
        return self.answers.until(shard_key(shard))

    def catalog(self) -> CatalogSource:
        """Read the catalog from its beginning, and what is new in it."""
        return CatalogSource(
            self.settings.kafka,
            flaw_of,
            self.clock,
            self._pace,
            self.metrics.kafka,
            self._ids,
            self._releases,
        )

    def topics(self, topics: Sequence[Topic], read: Read) -> TopicSource:
        """Read whole topics, each partition by itself; any worker may have any of them."""
        return TopicSource(
            self.settings.kafka,
            self.settings.time,
            read,
            self.clock,
            topics,
            pace=self._pace,
            metrics=self.metrics.kafka,
            ids=self._ids,
            releases=self._releases,
        )

    def topic(self, topic: Topic) -> KafkaSink:
        """Write to a topic; where it has a fence, what a crashed process wrote is not repeated."""
        horizon = self.settings.time.dedup_horizon
        return KafkaSink(self._producer, topic, FENCES.get(topic), self._place, horizon, self._ids)

    def published(self) -> PublishedVersions:
        """Look up the policy versions that readers outside may have."""
        return PublishedVersions(self.settings.kafka, self.metrics.kafka)

    def cache(self) -> RedisSink:
        """Write copies to Redis."""
        return RedisSink(self.settings.redis.url, self.metrics.redis)

    def store(self) -> StoreSink:
        """Write rows to the durable store."""
        settings, metrics = self.settings, self.metrics.store
        return StoreSink(
            lambda: open_store(settings.store, metrics),
            settings.kafka.partitions,
            metrics=metrics,
        )
