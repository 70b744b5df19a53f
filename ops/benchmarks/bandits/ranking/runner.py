"""Run a learner through an environment: what its choices were truly worth, what it cost."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ops.benchmarks.bandits.ranking.learners import Decisions, Learner
from ops.benchmarks.bandits.ranking.requests import Block, Environment, Floats, Requests

CHECKPOINTS = (1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 150_000, 200_000)


@dataclass(frozen=True, slots=True)
class Outcome:
    """``fractions``: sum of the true rewards of what was chosen over the best's, by events seen.

    ``seconds`` of processor time went into deciding and learning; ``audit`` is the mean of 1 over
    the chosen candidates' probabilities over K, which is 1 where they are what was drawn from.
    """

    fractions: dict[int, float]
    seconds: float
    audit: float


def run(learner: Learner, environment: Environment) -> Outcome:
    """Run; a learner whose probabilities cannot be right raises ``ValueError``."""
    fractions: dict[int, float] = {}
    seen, worth, best, seconds, inverse = 0, 0.0, 0.0, 0.0, 0.0
    for block in batches(environment.blocks(), lambda: learner.batch):
        began = time.process_time()
        decisions = learner.decide(block.requests)
        seconds += time.process_time() - began
        rows = np.arange(len(block.u))
        _check(decisions, block)
        true = block.p[rows, decisions.chosen]
        rewards = (block.u < true).astype(float)
        began = time.process_time()
        learner.learn(block.requests, decisions, rewards)
        seconds += time.process_time() - began
        marks = [m for m in CHECKPOINTS if seen < m <= seen + len(rows)]
        oracle = block.p.max(axis=1)
        for mark in marks:
            part = slice(mark - seen)
            fractions[mark] = float((worth + true[part].sum()) / (best + oracle[part].sum()))
        seen += len(rows)
        worth, best = worth + float(true.sum()), best + float(oracle.sum())
        inverse += float((1.0 / decisions.p[rows, decisions.chosen]).sum())
    fractions[seen] = worth / best
    return Outcome(fractions, seconds, inverse / seen / environment.candidates)


def batches(blocks: Iterator[Block], size: Callable[[], int]) -> Iterator[Block]:
    """Cut and join blocks to such of ``size()`` requests each; the last may be smaller."""
    ready: Block | None = None
    start = 0
    for block in blocks:
        if ready is None:
            ready = block
        else:
            ready, start = _joined([_part(ready, start, len(ready.u)), block]), 0
        while start < len(ready.u) and start + (wanted := size()) <= len(ready.u):
            yield _part(ready, start, start + wanted)
            start += wanted
    if ready is not None and start < len(ready.u):
        yield _part(ready, start, len(ready.u))


def _part(block: Block, start: int, stop: int) -> Block:
    rows = slice(start, stop)
    return Block(block.requests.part(start, stop), block.p[rows], block.u[rows])


def _joined(blocks: Sequence[Block]) -> Block:
    requests = Requests(
        np.concatenate([block.requests.times for block in blocks]),
        [context for block in blocks for context in block.requests.contexts],
        [actions for block in blocks for actions in block.requests.actions],
    )
    return Block(
        requests,
        np.concatenate([block.p for block in blocks]),
        np.concatenate([block.u for block in blocks]),
    )


def _check(decisions: Decisions, block: Block) -> None:
    p: Floats = decisions.p
    if p.shape != block.p.shape or decisions.chosen.shape != block.u.shape:
        raise ValueError(f"probabilities of shape {p.shape}, candidates {block.p.shape}")
    if not (p >= 0.0).all() or not np.allclose(p.sum(axis=1), 1.0, atol=1e-6, rtol=0.0):
        raise ValueError("probabilities that are negative, or that do not sum to 1")
    if not (p[np.arange(len(p)), decisions.chosen] > 0.0).all():
        raise ValueError("a candidate was chosen whose probability is 0")
