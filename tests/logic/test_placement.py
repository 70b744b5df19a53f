"""Shards lie evenly on workers, and Bytewax puts a key's state where we say that it does."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.runtime.ports import HOST, free_port
from operators.logic.placement import WorkerPlace, shard_key, shard_of, worker_of
from tests.support import keys_flow


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 60), st.integers(1, 24))
def test_each_shard_is_of_one_worker_and_says_its_number(shard: int, workers: int) -> None:
    owners = [worker for worker in range(workers) if WorkerPlace(worker, workers).owns(shard)]
    assert owners == [worker_of(shard_key(shard), workers)]
    assert shard_of(shard_key(shard)) == shard


@pytest.mark.parametrize("workers", [1, 2, 3, 4, 5, 6, 8, 10, 12])
def test_shards_are_spread_evenly(workers: int) -> None:
    found = Counter(worker_of(shard_key(shard), workers) for shard in range(24))
    assert max(found.values()) - min(found.values()) <= 1


def test_bytewax_places_keys_as_we_do() -> None:
    """A cluster of three; a release of Bytewax that hashes otherwise fails here."""
    addresses = [f"{HOST}:{free_port()}" for _ in range(3)]
    command = [sys.executable, str(Path(keys_flow.__file__))]
    workers = [
        subprocess.Popen([*command, str(number), *addresses], stdout=subprocess.PIPE)
        for number in range(3)
    ]
    printed = [worker.communicate(timeout=60)[0].decode().splitlines() for worker in workers]
    placed = {
        line.removeprefix("key="): worker
        for worker, lines in enumerate(printed)
        for line in lines
        if line.startswith("key=")
    }
    assert placed == {key: worker_of(key, 3) for key in keys_flow.KEYS}
