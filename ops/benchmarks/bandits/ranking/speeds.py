"""How many requests per second and core the learners decide and learn, in turns in one process."""

import time
from collections.abc import Sequence
from functools import partial
from itertools import islice

import numpy as np

from ops.benchmarks.bandits.ranking.learners import Learner
from ops.benchmarks.bandits.ranking.requests import Block
from ops.benchmarks.bandits.ranking.runner import batches
from ops.benchmarks.bandits.ranking.tasks import OURS
from ops.benchmarks.bandits.ranking.vowpal import Setting, VowpalWabbit
from ops.benchmarks.bandits.ranking.wide import Wide
from ops.benchmarks.bandits.speeds import Speed
from ops.benchmarks.reporting.judged import JudgedBar

RIVALS = {
    "VW squarecb": Setting("--squarecb --gamma_scale 1000 -l 0.5", "all"),
    "VW epsilon": Setting("--epsilon 0.05 -l 0.5", "all"),
    "VW bag 5": Setting("--bag 5 -l 0.5", "all"),
    "VW squarecb, pairs": Setting("--squarecb --gamma_scale 1000 -l 0.5"),
}
"""``pairs`` crosses a context's features with an action's only: less work than ``-q ::``."""

CHUNK = 500
"""Requests of a turn, or four batches where these are more."""


def speeds(candidates: int, seed: int, rounds: int, ours: Sequence[str]) -> list[Speed]:
    """Measure on requests of 30 features a side; the first turn of each does not count."""
    learners: dict[str, Learner] = {}
    for name, setting in RIVALS.items():
        learners[name] = VowpalWabbit(Wide(candidates, seed, 0), setting, seed)
    for name in ours:
        learners[name] = OURS[name](Wide(candidates, seed, 0), seed)
    chunks = {name: max(CHUNK, 4 * learner.batch) for name, learner in learners.items()}
    events = (rounds + 2) * max(chunks.values())
    streams = {
        name: batches(Wide(candidates, seed, events).blocks(), partial(int, learner.batch))
        for name, learner in learners.items()
    }
    found: dict[str, list[float]] = {name: [] for name in learners}
    for _ in range(rounds + 1):
        for name, learner in learners.items():
            turn = list(islice(streams[name], -(-chunks[name] // learner.batch)))
            found[name].append(_speed(learner, turn))
    return [
        _summed_up(f"{name}, {candidates} candidates", each[1:]) for name, each in found.items()
    ]


def _speed(learner: Learner, blocks: Sequence[Block]) -> float:
    """Give requests per second of processor time."""
    seconds = 0.0
    for block in blocks:
        began = time.process_time()
        decisions = learner.decide(block.requests)
        seconds += time.process_time() - began
        true = block.p[np.arange(len(block.u)), decisions.chosen]
        rewards = (block.u < true).astype(float)
        began = time.process_time()
        learner.learn(block.requests, decisions, rewards)
        seconds += time.process_time() - began
    return sum(len(block.u) for block in blocks) / seconds


def _summed_up(name: str, found: list[float]) -> Speed:
    low, middle, high = np.quantile(found, [0.25, 0.5, 0.75])
    return Speed(name, float(middle), (float(low), float(high)))


def bar(measured: Sequence[Speed], learner: str) -> JudgedBar:
    """Compare a learner with the fastest of VW's that crosses all pairs, 20 candidates."""
    of = {speed.learner: speed.median for speed in measured}
    end = ", 20 candidates"
    vw = max(of[name + end] for name, setting in RIVALS.items() if setting.crossed == "all")
    ratio = of[learner + end] / vw
    figure = f"{ratio:.1f} x ({of[learner + end]:,.0f} against {vw:,.0f})"
    return JudgedBar(
        f"requests/s per core over VW's fastest, {learner}", ">= 5 x", figure, ratio >= 5
    )
