"""Which policy versions were published: what the end of the topic of policies says."""

from confluent_kafka import KafkaError, TopicPartition
from msgspec import DecodeError, Struct
from msgspec.json import Decoder

from operators.io.kafka.client import consumer, note_error, range_of
from operators.io.metrics.kafka import KafkaMetrics
from operators.logic.policy_versions import HIGHEST_BELIEVED
from schemas.settings import KafkaSettings
from schemas.topics import Topic

LAST = 1_000
"""Records of the topic that are read: each slot that learns writes one a second at most."""


class _Published(Struct):
    slot_id: str
    version: int


class PublishedVersions:
    """The highest version of each slot among the last policies on their topic, read when asked for.

    A learner asks that begins without state: its slot is new, or what was kept of it is lost.
    """

    def __init__(self, settings: KafkaSettings, metrics: KafkaMetrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._versions: dict[str, int] | None = None

    def __call__(self, slot_id: str) -> int:
        """Look up the highest version of a slot, 0 where there is none."""
        if self._versions is None:
            self._versions = self._read()
        return self._versions.get(slot_id, 0)

    def _read(self) -> dict[str, int]:
        settings, metrics = self._settings, self._metrics
        reader, decode = consumer(settings, metrics), Decoder(_Published).decode
        topic, versions = settings.topic(Topic.POLICIES), dict[str, int]()
        try:
            low, high = range_of(settings, reader, topic, 0, metrics)
            position = max(low, high - LAST)
            if position < high:
                reader.assign([TopicPartition(topic, 0, position)])
            while position < high:
                for message in reader.consume(LAST, 0.1):
                    error = message.error()
                    offset = int(message.offset() or 0)
                    if error is None:
                        position = offset + 1
                        try:
                            policy = decode(message.value() or b"")
                        except (DecodeError, UnicodeDecodeError, RecursionError):
                            continue
                        if versions.get(policy.slot_id, 0) < policy.version < HIGHEST_BELIEVED:
                            versions[policy.slot_id] = policy.version
                    elif error.code() == KafkaError._PARTITION_EOF:
                        position = max(position, offset)
                    elif error.code() == KafkaError._AUTO_OFFSET_RESET:
                        return versions  # retention has just taken what was to be read
                    else:
                        note_error(metrics, error)
        finally:
            reader.close()
        return versions
