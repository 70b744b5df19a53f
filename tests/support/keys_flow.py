"""Tells on which worker of a cluster each key's state is: ``keys_flow.py PROCESS ADDRESS…``."""

import sys
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.operators import StatefulBatchLogic
from bytewax.run import cli_main
from bytewax.testing import TestingSink

KEYS = [str(number) for number in range(20)] + ["home", "a key of more than eight bytes", "é-1"]


class _Once(StatefulSourcePartition[tuple[str, int], None]):
    def __init__(self) -> None:
        self.given = False

    def next_batch(self) -> list[tuple[str, int]]:
        if self.given:
            raise StopIteration
        self.given = True
        return [(key, 0) for key in KEYS]

    def snapshot(self) -> None:
        return None


class _Keys(FixedPartitionedSource[tuple[str, int], None]):
    def list_parts(self) -> list[str]:
        return ["all"]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _Once:
        return _Once()


class _Here(StatefulBatchLogic[int, int, None]):
    def on_batch(self, values: list[int]) -> tuple[list[int], bool]:
        return values, False

    def snapshot(self) -> None:
        return None


def _tell(item: tuple[str, Any]) -> tuple[str, Any]:
    sys.stdout.buffer.write(f"key={item[0]}\n".encode())
    sys.stdout.flush()
    return item


if __name__ == "__main__":
    flow = Dataflow("keys")
    here = op.stateful_batch("state", op.input("keys", flow, _Keys()), lambda _: _Here())
    op.output("out", op.map("tell", here, _tell), TestingSink([]))
    cli_main(flow, process_id=int(sys.argv[1]), addresses=sys.argv[2:])
