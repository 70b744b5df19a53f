"""Classification sets that ship in packages, as bandits: the reward is 1 for the right label."""

from collections.abc import Iterator

import numpy as np

from ops.benchmarks.bandits.ranking.requests import Block, Floats, Indices, Requests

PASSES = {
    "digits": 3,
    "wine": 20,
    "cancer": 5,
    "segments": 2,
    "phishing": 4,
    "bananas": 2,
}
"""How often each set is gone through, in a new order each time."""

SIZE = 100


class Labels:
    """Environment (c).

    A context holds the set's values, standardised over the whole set, clipped to ±5 and times
    2 / sqrt(d), as numbers with names; a candidate holds its label as a string. One event a second.
    """

    context_namespaces = ("values",)
    action_namespaces = ("label",)

    def __init__(self, name: str, seed: int) -> None:
        x, self._labels = _labelled(name)
        self.name, self._seed = name, seed
        self.candidates = int(self._labels.max()) + 1
        self.events = PASSES[name] * len(x)
        deviation = x.std(axis=0)
        scaled = (x - x.mean(axis=0)) / np.where(deviation > 0.0, deviation, 1.0)
        values = np.round(np.clip(scaled, -5.0, 5.0) * 2.0 / np.sqrt(x.shape[1]), 5).tolist()
        names = [f"f{i}" for i in range(x.shape[1])]
        self._contexts = [{"values": dict(zip(names, row, strict=True))} for row in values]
        self._actions = [
            {"id": f"is{i}", "features": {"label": {"name": f"is{i}"}}}
            for i in range(self.candidates)
        ]

    def blocks(self) -> Iterator[Block]:
        """Give ``SIZE`` events at a time."""
        rng = np.random.default_rng([55, self._seed])
        luck = np.random.default_rng([41, self._seed])
        passes, n = PASSES[self.name], len(self._labels)
        order = np.concatenate([rng.permutation(n) for _ in range(passes)])[: self.events]
        for start in range(0, self.events, SIZE):
            rows = order[start : start + SIZE]
            times = np.arange(start, start + len(rows), dtype=float)
            contexts = [self._contexts[i] for i in rows.tolist()]
            p = (self._labels[rows][:, None] == np.arange(self.candidates)).astype(float)
            actions = [self._actions] * len(rows)
            yield Block(Requests(times, contexts, actions), p, luck.random(len(rows)))


def _labelled(name: str) -> tuple[Floats, Indices]:
    """Give a set's values [n, d] and the numbers of its labels [n]."""
    if name in ("segments", "phishing", "bananas"):
        from river import datasets

        sets = {
            "segments": datasets.ImageSegments,
            "phishing": datasets.Phishing,
            "bananas": datasets.Bananas,
        }
        rows = list(sets[name]())
        classes = sorted({label for _, label in rows})
        x = np.array([list(features.values()) for features, _ in rows], dtype=float)
        return x, np.array([classes.index(label) for _, label in rows])
    from sklearn.datasets import load_breast_cancer, load_digits, load_wine

    load = {"digits": load_digits, "wine": load_wine, "cancer": load_breast_cancer}[name]
    x, labels = load(return_X_y=True)
    return np.asarray(x, dtype=float), np.asarray(labels)
