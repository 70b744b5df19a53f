"""Requests of many features on each side, to measure speed by, not quality."""

from collections.abc import Iterator

import numpy as np

from ops.benchmarks.bandits.ranking.requests import Block, Json, Requests, drawn_without_repeats

STRINGS, NUMBERS, VECTOR = 10, 8, 12
"""Features of a side, 30 in all: strings of 20 values each, numbers, and a list of numbers."""

LIVE, SIZE = 1_000, 100


class Wide:
    """``candidates`` of 1,000 lasting actions; each is worth one rate between 2 and 20 %."""

    context_namespaces = ("user", "moment")
    action_namespaces = ("item",)

    def __init__(self, candidates: int, seed: int, events: int) -> None:
        self.name, self.candidates, self.events = f"wide-{candidates}", candidates, events
        self._seed = seed

    def blocks(self) -> Iterator[Block]:
        """Give ``SIZE`` events at a time."""
        rng = np.random.default_rng([46, self._seed])
        rates = rng.uniform(0.02, 0.2, LIVE)
        items = [
            {"id": f"w{i:04}", "features": {"item": side}}
            for i, side in enumerate(_sides(rng, LIVE))
        ]
        for start in range(0, self.events, SIZE):
            count = min(SIZE, self.events - start)
            rows = drawn_without_repeats(rng, count, self.candidates, LIVE)
            contexts = [_split(side) for side in _sides(rng, count)]
            actions = [[items[i] for i in row] for row in rows.tolist()]
            times = np.arange(start, start + count, dtype=float)
            yield Block(Requests(times, contexts, actions), rates[rows], rng.random(count))


def _sides(rng: np.random.Generator, count: int) -> list[Json]:
    strings = rng.integers(20, size=(count, STRINGS)).tolist()
    numbers = np.round(rng.normal(size=(count, NUMBERS)), 3).tolist()
    vectors = np.round(rng.normal(size=(count, VECTOR)), 3).tolist()
    return [
        {f"s{i}": f"v{value}" for i, value in enumerate(words)}
        | {f"n{i}": value for i, value in enumerate(values)}
        | {"vector": vector}
        for words, values, vector in zip(strings, numbers, vectors, strict=True)
    ]


def _split(side: Json) -> Json:
    """Put a context's strings into one namespace and its numbers into the other."""
    user = {name: value for name, value in side.items() if isinstance(value, str)}
    return {"user": user, "moment": {k: v for k, v in side.items() if k not in user}}
