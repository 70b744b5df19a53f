"""Measure what a slot with one shared model costs: a decision by its parts, learning, publishing.

Contexts and candidates have 30 features each, all pairs of them crossed. ``numbers`` are named
alike, so that all candidates have the same features; ``strings`` are of eight values each; ``new``
strings never repeat, which is the dearest there is. Prints CPU and writes it under
``ops/benchmarks/results/``.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from operators.logic.deciding.draws import point_keys
from operators.logic.deciding.joint_propensity import joint_probabilities
from operators.logic.features.auto import AutoEncoder, SparseFeatures
from operators.logic.features.crossing import Crossing, crossed
from operators.logic.kernels import load_kernels
from operators.logic.policies.base import Deltas
from operators.logic.policies.shared import Shared, SharedPosterior
from ops.benchmarks.kernels import best
from ops.benchmarks.reporting.judged import JudgedBar, report
from schemas.catalog import AutoFeatures

KINDS = ("numbers", "strings", "new")
FEATURES, LEARNED, BATCH = 30, 3_000, 50
ALONE, TOGETHER = 1_500.0, 200.0
"""Microseconds of CPU for 50 candidates: a decision of its own, and each of a batch."""


class Requests:
    """Makes encoded contexts and candidates of one kind."""

    def __init__(self, kind: str, candidates: int, seed: int) -> None:
        self._kind, self._candidates = kind, candidates
        self._rng = np.random.default_rng([30, seed, candidates, KINDS.index(kind)])
        self.encoder = AutoEncoder(AutoFeatures())

    def side(self, namespace: str) -> Any:
        """Make the JSON of a context or of an action."""
        if self._kind == "numbers":
            values: Sequence[Any] = np.round(self._rng.normal(size=FEATURES), 4).tolist()
        else:
            many = 8 if self._kind == "strings" else 10**9
            values = [f"v{value}" for value in self._rng.integers(many, size=FEATURES)]
        return {namespace: {f"f{place}": value for place, value in enumerate(values)}}

    def batch(self, count: int) -> tuple[list[SparseFeatures], list[list[SparseFeatures]]]:
        """Make so many decisions."""
        encode, side = self.encoder.encode, self.side
        contexts = [encode(side("user")) for _ in range(count)]
        return contexts, [
            [encode(side("item")) for _ in range(self._candidates)] for _ in range(count)
        ]


def learned(requests: Requests, crossing: Crossing) -> Shared:
    """Learn decisions of such requests, each with a reward or none."""
    rng, policy = np.random.default_rng(31), Shared(None, crossing.width)
    for start in range(0, LEARNED, BATCH):
        policy.learn(deltas_of(requests, crossing, rng, float(start)))
    return policy


def deltas_of(
    requests: Requests, crossing: Crossing, rng: np.random.Generator, time: float
) -> Deltas:
    """Make a batch of chosen actions with their rewards."""
    contexts, candidates = requests.batch(BATCH)
    return Deltas(
        action_ids=[""] * BATCH,
        x=np.zeros((BATCH, 0)),
        eta=np.full(BATCH, -1.0),
        time=np.full(BATCH, time),
        count_delta=np.ones(BATCH),
        reward_delta=(rng.random(BATCH) < 0.3).astype(float),
        rows=crossed(crossing.operands(contexts, [some[:1] for some in candidates])),
    )


def decide(
    posterior: SharedPosterior,
    crossing: Crossing,
    contexts: Sequence[SparseFeatures],
    candidates: Sequence[Sequence[SparseFeatures]],
) -> None:
    """Score candidates and compute their probabilities."""
    operands = crossing.operands(contexts, candidates)
    scores = posterior.joint(operands, ["new"] * len(operands.which))
    ids = [str(number) for number in range(len(contexts))]
    joint_probabilities(replace(scores, keys=point_keys(b"cost", "slot", ids, ids)))


def bars_of(kind: str, candidates: int, seed: int, seconds: float) -> Iterator[JudgedBar]:
    """Measure one kind of features."""
    requests, crossing = Requests(kind, candidates, seed), Crossing(AutoFeatures())
    policy = learned(requests, crossing)
    posterior, columns = policy.publish(), len(policy.moments.columns)
    name = f"{kind}, {candidates} candidates"
    for count, limit in ((1, ALONE), (BATCH, TOGETHER)):
        batch = requests.batch(count)
        spent = best(partial(decide, posterior, crossing, *batch), 1, seconds) / count
        where = "alone" if count == 1 else f"of {BATCH} at once"
        judged = candidates == 50
        yield JudgedBar(
            f"{name}: a decision {where}",
            f"<= {limit:g} µs" if judged else "-",
            f"{spent:.0f} µs",
            spent <= limit if judged else None,
        )
    sides = [requests.side("item") for _ in range(candidates)]
    encode = requests.encoder.encode
    spent = best(lambda: [encode(side) for side in sides], 1, seconds)
    yield JudgedBar(f"{name}: encoding them, none known", "-", f"{spent:.0f} µs", None)
    if candidates == 50:
        deltas = deltas_of(requests, crossing, np.random.default_rng(32), float(LEARNED))
        spent = best(partial(policy.learn, deltas), 1, seconds) / BATCH
        yield JudgedBar(f"{kind}: learning a decision", "-", f"{spent:.0f} µs", None)
        spent = best(policy.publish, 1, seconds) / 1e3
        figure = f"{spent:.0f} ms, {columns:,} columns"
        yield JudgedBar(f"{kind}: a publication", "-", figure, None)


def main() -> int:
    """Measure and print one table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--seconds", type=float, default=3.0, help="per figure")
    arguments.add_argument("--quick", action="store_true", help="half a second per figure")
    options = arguments.parse_args()
    seconds = 0.5 if options.quick else options.seconds
    load_kernels()
    with threadpool_limits(1, user_api="blas"):
        bars = [
            bar
            for kind in KINDS
            for candidates in (20, 50)
            for bar in bars_of(kind, candidates, options.seed, seconds)
        ]
    return report("ranking_costs", "A slot with one shared model", bars)


if __name__ == "__main__":
    sys.exit(main())
