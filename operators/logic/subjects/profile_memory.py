"""The subjects of a shard: what is remembered of each, and how it is kept."""

from collections.abc import Iterator, Sequence

from msgspec import Struct, msgpack

from operators.logic.state.segmented import SegmentedSnapshot, SegmentedState
from operators.logic.state.segments import SegmentFiles
from operators.logic.subjects.consents import Consents
from operators.logic.subjects.profile_record import ProfileRecord, ProfileRecords
from operators.logic.subjects.tastes import Tastes


class _Remembered(Struct, array_like=True, gc=False):
    """All that is remembered of a subject."""

    consent: bytes
    record: bytes | None
    tastes: Tastes | None
    embedding: bytes | None


_ENCODER = msgpack.Encoder()
_DECODER = msgpack.Decoder(_Remembered)


class SubjectMemory:
    """Consents, records, tastes and embeddings by subject.

    A subject without a consent has no record, one without a record no tastes and no embedding.
    """

    def __init__(self) -> None:
        self.consents = Consents()
        self.tastes: dict[str, Tastes] = {}
        self.embeddings: dict[str, bytes] = {}
        self._blocks = SegmentedState(self.consents, self._packed)
        self.records = ProfileRecords(self._blocks.touch)
        self.touch = self._blocks.touch
        """Say that something of a subject may have changed, or is gone."""

    def use(self, segments: SegmentFiles) -> None:
        """Keep most of the state in these segment files from now on."""
        self._blocks.use(segments)

    def forget_profile(self, subject: str) -> ProfileRecord | None:
        """Remove all but the consent of a subject, and give its record if there was one."""
        self.tastes.pop(subject, None)
        self.embeddings.pop(subject, None)
        return self.records.pop(subject)

    def tidy(self) -> None:
        """Write what changed to a segment, when it is time to."""
        self._blocks.tidy()

    def snapshot(self) -> SegmentedSnapshot:
        """Give what a snapshot keeps; where there are segments, once those are durable."""
        return self._blocks.snapshot()

    @classmethod
    def load(cls, snapshot: SegmentedSnapshot, segments: SegmentFiles | None) -> "SubjectMemory":
        """Read what :meth:`snapshot` gave, and go on with the segments."""
        memory = cls()
        memory._blocks.restore(snapshot, segments, memory._restore)
        return memory

    def _packed(self, subjects: Sequence[str]) -> Iterator[bytes]:
        encode, consent = _ENCODER.encode, self.consents.packed
        tastes, embedding = self.tastes.get, self.embeddings.get
        for subject, record in zip(subjects, self.records.packed(subjects), strict=True):
            remembered = _Remembered(consent(subject), record, tastes(subject), embedding(subject))
            yield encode(remembered)

    def _restore(self, subject: str, block: bytes) -> None:
        remembered = _DECODER.decode(block)
        self.consents.load(subject, remembered.consent)
        if remembered.record is not None:
            self.records.load(subject, remembered.record)
        if remembered.tastes is not None:
            self.tastes[subject] = remembered.tastes
        if remembered.embedding is not None:
            self.embeddings[subject] = remembered.embedding
