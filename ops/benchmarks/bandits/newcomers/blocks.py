"""Trials in blocks that are kept on disk, so that a run that broke off goes on where it stopped.

A block is named by a digest of everything that decides its figures: the code, the libraries, the
rates, the rewards as the policy gets them and the policy as it is before it has learned. So worlds
that differ in nothing that a policy sees, as ranges that scale to the same rewards, are one block.
"""

import hashlib
import json
import os
import platform
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from operators.logic.features import FeatureMap
from operators.logic.slot_policy import new_policy, policy_dim
from ops.benchmarks.bandits import cells
from ops.benchmarks.bandits.newcomers import rivals
from ops.benchmarks.bandits.newcomers.trial import trial
from ops.benchmarks.bandits.newcomers.worlds import World

Floats = NDArray[np.float64]

POLICIES = ("beta", "diagonal", "logistic", "gaussian")
"""Ours, each at its defaults."""

BLOCKS = cells.ROOT / "ops/benchmarks/results/newcomer-cells"
HISTORY = 100_000
"""Decisions after which an incumbent's rate counts as known."""

SIZE = 50
"""Trials of a block of ours."""

_HERE = "ops/benchmarks/bandits/newcomers"
_COMMON = tuple(f"{_HERE}/{name}.py" for name in ("yardstick", "worlds", "curves"))
_RIVALS = (f"{_HERE}/rivals.py",)
_OURS = (
    f"{_HERE}/trial.py",
    "operators/logic/policies/*.py",
    "operators/logic/deciding/quadrature.py",
    "operators/logic/kernels/*.py",
)


@dataclass(frozen=True, slots=True)
class Block:
    """Trials ``first``, ``first + 1``, ... of one learner in one world."""

    world: World
    learner: str
    first: int
    trials: int


@dataclass(frozen=True, slots=True)
class Cell:
    """All trials of one learner in one world: curves [trials, POINTS] and last tenths [trials]."""

    world: World
    learner: str
    shares: Floats
    finals: Floats

    @property
    def won(self) -> int:
        """The number of trials at whose end the newcomer has more than half of the decisions."""
        return int((self.finals > 0.5).sum())

    @property
    def trials(self) -> int:
        """The number of trials."""
        return len(self.finals)


def blocks_of(worlds: Sequence[World], trials: int) -> list[Block]:
    """Return ours: first the first block of every cell, so that early figures show all cells.

    A world whose incumbents' rates are less known than the yardstick assumes gets a fifth of them.
    """
    return [
        Block(world, kind, first, min(SIZE, wanted - first))
        for first in range(0, trials, SIZE)
        for world in worlds
        for wanted in [trials if known(world) else -(-trials // 5)]
        for kind in POLICIES
        if first < wanted
    ]


def known(world: World) -> bool:
    """Say whether each incumbent's rate is as well known as the yardstick assumes."""
    return world.history >= HISTORY * world.incumbents


def performed(blocks: Sequence[Block], jobs: int, folder: Path, progress: bool) -> list[Cell]:
    """Perform the blocks on ``jobs`` cores, what is on disk excepted, and join them to cells."""
    paths = {block: folder / f"{_digest(block)}.npz" for block in blocks}
    missing = {path: block for block, path in paths.items() if not path.exists()}
    folder.mkdir(parents=True, exist_ok=True)
    _perform_all(missing, jobs, progress)
    parts: dict[tuple[World, str], list[tuple[Floats, Floats]]] = defaultdict(list)
    for block, path in paths.items():
        with np.load(path) as found:
            parts[block.world, block.learner].append((found["shares"], found["finals"]))
    return [
        Cell(world, learner, *(np.concatenate(arrays) for arrays in zip(*given, strict=True)))
        for (world, learner), given in parts.items()
    ]


def _perform_all(missing: Mapping[Path, Block], jobs: int, progress: bool) -> None:
    with ProcessPoolExecutor(jobs, mp_context=get_context("fork")) as pool:
        waiting = [pool.submit(_perform, block, path) for path, block in missing.items()]
        try:
            for number, future in enumerate(as_completed(waiting), 1):
                future.result()
                if progress:
                    print(f"newcomers: {number}/{len(waiting)} blocks", file=sys.stderr, flush=True)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # else all others are performed first
            raise


def _perform(block: Block, path: Path) -> None:
    seeds = range(block.first, block.first + block.trials)
    if block.learner in POLICIES:
        made = [trial(block.world, block.learner, seed) for seed in seeds]
    else:
        made = rivals.trials(block.world, block.learner, seeds)
    part = path.with_suffix(f".{os.getpid()}.npz")
    shares = np.array([each.shares for each in made], dtype=np.float32)
    np.savez(part, shares=shares, finals=np.array([each.final for each in made]))
    part.rename(path)


def _digest(block: Block) -> str:
    world, ours = block.world, block.learner in POLICIES
    seen = [
        block.learner, block.first, block.trials, world.incumbents,
        world.history, world.rate,
        *((world.payoffs, _untaught(world, block.learner).hex()) if ours else ()),
        _sources(ours), platform.python_version(),
        *(f"{name} {cells.version_of(name)}" for name in ("numpy", "scipy", *_packages(ours))),
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(seen).encode()).hexdigest()[:24]


@cache
def _untaught(world: World, kind: str) -> bytes:
    slot = world.slot(kind)
    dim = policy_dim(slot, FeatureMap(slot.features))
    return new_policy(slot, world.actions(world.ids), dim).dump()


@cache
def _sources(ours: bool) -> str:
    return cells.digest_of(*_COMMON, *(_OURS if ours else _RIVALS))


def _packages(ours: bool) -> tuple[str, ...]:
    return () if ours else ("vowpalwabbit", "mabwiser")
