"""The subjects of a shard: what is remembered of each, and how it is kept in changes."""

from collections.abc import Iterable
from itertools import chain

from msgspec import Struct

from operators.logic.state import journal as journals
from operators.logic.state.journal import Journal
from operators.logic.state.segments import Segments
from operators.logic.subjects.consents import Consents
from operators.logic.subjects.profile_record import Record, Records
from operators.logic.subjects.tastes import Tastes
from schemas.state import StateError, pack, unpack

_KIND, _VERSION = "profiles-patch", 2


class Patch(Struct):
    """All that is remembered of some subjects; of those that are ``gone``, nothing.

    ``consents`` are the subjects whose consent is known; ``subjects`` have a record as well.
    """

    consents: dict[str, bytes]
    subjects: list[str]
    records: bytes
    tastes: dict[str, Tastes]
    embeddings: dict[str, bytes]
    gone: list[str]


class MemoryState(Struct):
    """What a snapshot keeps: a patch, beside or without the journal that it comes after."""

    segments: list[int] | None
    blocks: list[bytes]
    patch: Patch


class Memory:
    """Consents, records, tastes and embeddings by subject.

    A subject without a consent has no record, one without a record no tastes and no embedding.
    """

    def __init__(self) -> None:
        self.consents = Consents()
        self.records = Records()
        self.tastes: dict[str, Tastes] = {}
        self.embeddings: dict[str, bytes] = {}
        self._journal: Journal | None = None

    def use(self, segments: Segments) -> None:
        """Keep most of the state there from now on."""
        self._journal = Journal(segments)

    def forget_profile(self, subject: str) -> Record | None:
        """Remove all but the consent of a subject, and give its record if there was one."""
        self.tastes.pop(subject, None)
        self.embeddings.pop(subject, None)
        return self.records.pop(subject)

    def tidy(self) -> None:
        """Pack what changed, and write it with a share of the rest, when it is time to."""
        journal = self._journal
        if journal is None:
            return
        if len(self.records.touched) >= journals.STEP:
            changed = self.records.untouch(2 * journals.STEP)
            journal.add(self._block(changed), len(changed))
        if journal.full():
            journal.add(self._block(journal.turn(self.consents)), 0)
            journal.write()

    def state(self) -> MemoryState:
        """Give what a snapshot keeps; where there are segments, once those are durable."""
        if self._journal is None:
            return MemoryState(None, [], self._patch(self.consents))
        segments, blocks = self._journal.settle()
        return MemoryState(segments, blocks, self._patch(self.records.touched))

    @classmethod
    def load(cls, state: MemoryState, segments: Segments | None) -> "Memory":
        """Read what :meth:`state` gave, and go on with the segments; refuse where they miss."""
        memory = cls()
        if state.segments is not None:
            if segments is None:
                raise StateError(
                    "the recovery store keeps profiles in its folder: set BANDITFLOW_RECOVERY"
                )
            memory._journal = Journal(segments, state.segments, state.blocks)
            for block in memory._journal.read():
                memory._apply(unpack(_KIND, _VERSION, Patch, block))
        elif segments is not None:
            memory.use(segments)
        memory._apply(state.patch)
        memory.records.touched = dict.fromkeys([*state.patch.consents, *state.patch.gone])
        return memory

    def _block(self, subjects: Iterable[str]) -> bytes:
        return pack(_KIND, _VERSION, self._patch(subjects))

    def _patch(self, subjects: Iterable[str]) -> Patch:
        known: list[str] = []
        gone: list[str] = []
        for subject in subjects:
            (known if subject in self.consents else gone).append(subject)
        present = [subject for subject in known if subject in self.records]
        return Patch(
            self.consents.packed(known),
            present,
            self.records.packed(present),
            {s: tastes for s in present if (tastes := self.tastes.get(s)) is not None},
            {s: packed for s in present if (packed := self.embeddings.get(s)) is not None},
            gone,
        )

    def _apply(self, patch: Patch) -> None:
        """Replace what there is of the patch's subjects."""
        for subject in chain(patch.consents, patch.gone):
            self.tastes.pop(subject, None)
            self.embeddings.pop(subject, None)
            self.records.drop(subject)
        for subject in patch.gone:
            self.consents.drop(subject)
        self.consents.load(patch.consents)
        self.tastes.update(patch.tastes)
        self.embeddings.update(patch.embeddings)
        self.records.load(patch.subjects, patch.records)
