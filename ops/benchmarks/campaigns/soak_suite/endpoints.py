"""The world's records and edits as sources of the flow, and what the flow writes as its sinks."""

from collections import Counter
from typing import Any

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.outputs import DynamicSink, StatelessSinkPartition

from operators.envelope import Batch, CatalogUpdate
from operators.logic.placement import shard_of
from ops.benchmarks.campaigns.soak_suite.world import World


class Turns(FixedPartitionedSource[tuple[str, Batch], int]):
    """The world's records; a run ends at the turn ``until``, and a later one goes on."""

    def __init__(self, world: World) -> None:
        self._world = world

    def list_parts(self) -> list[str]:
        """Name the only partition: it speaks for every shard."""
        return ["all"]

    def build_part(
        self,
        step_id: str,  # noqa: ARG002
        for_part: str,  # noqa: ARG002
        resume_state: int | None,
    ) -> StatefulSourcePartition[tuple[str, Batch], int]:
        """Go on with the turn that the recovery store knows."""
        if (resume_state or 0) != self._world.turn:
            raise RuntimeError(f"resumed at turn {resume_state}, expected {self._world.turn}")
        return _Turns(self._world)


class _Turns(StatefulSourcePartition[tuple[str, Batch], int]):
    def __init__(self, world: World) -> None:
        self._world = world

    def next_batch(self) -> list[tuple[str, Batch]]:
        world = self._world
        if not world.ready():
            return []
        if world.turn >= world.until:
            raise StopIteration
        return world.next_turn()

    def snapshot(self) -> int:
        return self._world.turn


class Edits(FixedPartitionedSource[tuple[str, CatalogUpdate], int]):
    """What the world's editors publish."""

    def __init__(self, world: World) -> None:
        self._world = world

    def list_parts(self) -> list[str]:
        """Name the only partition."""
        return ["catalog"]

    def build_part(
        self,
        step_id: str,  # noqa: ARG002
        for_part: str,  # noqa: ARG002
        resume_state: int | None,  # noqa: ARG002
    ) -> StatefulSourcePartition[tuple[str, CatalogUpdate], int]:
        """Go on with what is to come."""
        return _Edits(self._world)


class _Edits(StatefulSourcePartition[tuple[str, CatalogUpdate], int]):
    def __init__(self, world: World) -> None:
        self._world = world
        self._begun = False

    def next_batch(self) -> list[tuple[str, CatalogUpdate]]:
        world = self._world
        if not self._begun:  # the flow waits for the whole catalog at every start
            self._begun = True
            return [("catalog", CatalogUpdate(complete=not world.updates))]
        if not world.updates:
            if world.turn >= world.until and world.ready():
                raise StopIteration
            return []
        return [("catalog", CatalogUpdate(world.updates.popleft(), [], complete=True))]

    def snapshot(self) -> int:
        return self._world.turn


class CountingSink(DynamicSink[tuple[str, Any]]):
    """Counts messages, and hands decisions back to the world."""

    def __init__(self, world: World | None = None) -> None:
        self.world = world
        self.counts: Counter[str] = Counter()

    def build(
        self,
        step_id: str,  # noqa: ARG002
        worker_index: int,  # noqa: ARG002
        worker_count: int,  # noqa: ARG002
    ) -> StatelessSinkPartition[tuple[str, Any]]:
        """Share the counts."""
        return _Partition(self)


class _Partition(StatelessSinkPartition[tuple[str, Any]]):
    def __init__(self, sink: CountingSink) -> None:
        self._sink = sink

    def write_batch(self, items: list[tuple[str, Any]]) -> None:
        sink = self._sink
        for key, messages in items:
            sink.counts["all"] += len(messages)
            if sink.world is not None:
                sink.world.answers += [(shard_of(key), message.value) for message in messages]


class _FinalOutcomes(_Partition):
    def write_batch(self, items: list[tuple[str, Any]]) -> None:
        for _, messages in items:
            final = sum(b'"status":"pending"' not in message.value for message in messages)
            self._sink.counts["final"] += final


class OutcomesSink(CountingSink):
    """Counts final outcomes."""

    def build(
        self,
        step_id: str,  # noqa: ARG002
        worker_index: int,  # noqa: ARG002
        worker_count: int,  # noqa: ARG002
    ) -> StatelessSinkPartition[tuple[str, Any]]:
        """Share the counts."""
        return _FinalOutcomes(self)
