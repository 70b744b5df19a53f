"""Waiting between attempts, by itself."""

import random

from operators.io.backoff import Backoff


def test_jitter_leaves_the_process_random_numbers_as_they_are() -> None:
    before = random.getstate()
    waits = [Backoff(1.0, 8.0).next() for _ in range(8)]
    assert random.getstate() == before
    assert len(set(waits)) > 1
    assert all(0.5 <= wait <= 1.0 for wait in waits)
