"""Writes a recovery store with given snapshots, by a dataflow of the same step names."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow, operator
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.operators import KeyedStream, StatefulBatchLogic
from bytewax.recovery import RecoveryConfig
from bytewax.testing import TestingSink, run_main
from typing_extensions import override

from flows.runtime.recovery import make_store

Seeds = dict[str, dict[str, bytes]]
"""Snapshots by a step's id (``personalize.learn.slot``) and state key."""

_Item = tuple[str, tuple[str, bytes]]


def write_recovery(
    folder: Path, flow: str, source: str, parts: Mapping[str, bytes], seeds: Seeds
) -> None:
    """Make a recovery store in ``folder`` from which ``flow`` resumes with these snapshots.

    Steps are given by their ids, which begin with the flow's name. ``parts`` are the snapshots of
    the partitions of the flow's input step ``source``. Bytewax itself writes the store, so that its
    layout is Bytewax's affair.
    """
    folder.mkdir(parents=True, mode=0o700)
    make_store(folder)
    seeding = Dataflow(flow)
    items = [(key, (step, state)) for step, keyed in seeds.items() for key, state in keyed.items()]
    items_by_step = op.input(_within(flow, source), seeding, _Source(parts, items))
    for step in seeds:
        path = _within(flow, step)
        name = path.replace(".", "_")
        of_step = op.filter(f"seed_{name}", items_by_step, _of(step))
        restored = _step(path.split(".")[0], of_step, path.split(".")[1:])
        op.output(f"kept_{name}", restored, TestingSink([]))
    run_main(
        seeding,
        epoch_interval=timedelta(0),
        recovery_config=RecoveryConfig(str(folder), backup_interval=timedelta(0)),
    )


def _within(flow: str, step: str) -> str:
    """Give a step's path within its flow."""
    return step.removeprefix(f"{flow}.")


def _of(step: str) -> Any:
    return lambda item: item[1][0] == step


@operator
def _step(
    step_id: str,  # noqa: ARG001 (Bytewax names the step by it)
    up: KeyedStream[Any],
    path: list[str],
) -> KeyedStream[Any]:
    """Nest steps as the path says; the innermost keeps the snapshots."""
    if len(path) > 1:
        return _step(path[0], up, path[1:])
    return op.stateful_batch(path[0], up, lambda _: _Keeper())


class _Keeper(StatefulBatchLogic[Any, Any, bytes]):
    """Keeps the snapshot that it is given."""

    def __init__(self) -> None:
        self._state = b""

    @override
    def on_batch(self, values: list[Any]) -> tuple[Iterable[Any], bool]:
        ((_, self._state),) = values
        return (), StatefulBatchLogic.RETAIN

    @override
    def snapshot(self) -> bytes:
        return self._state


class _Source(FixedPartitionedSource[_Item, bytes]):
    """Gives every item once, from its first partition, and the partitions' snapshots."""

    def __init__(self, parts: Mapping[str, bytes], items: list[_Item]) -> None:
        self._parts = parts
        self._items = items

    @override
    def list_parts(self) -> list[str]:
        return list(self._parts)

    @override
    def build_part(
        self, step_id: str, for_part: str, resume_state: bytes | None
    ) -> StatefulSourcePartition[_Item, bytes]:
        first = for_part == min(self._parts)
        return _Partition(self._parts[for_part], self._items if first else [])


class _Partition(StatefulSourcePartition[_Item, bytes]):
    def __init__(self, state: bytes, items: list[_Item]) -> None:
        self._state = state
        self._batches = [items]

    @override
    def next_batch(self) -> list[_Item]:
        if not self._batches:
            raise StopIteration
        return self._batches.pop()

    @override
    def snapshot(self) -> bytes:
        return self._state
