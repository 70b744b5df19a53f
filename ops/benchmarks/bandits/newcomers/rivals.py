"""Other libraries with a newcomer: rewards are 0 and 1, for none knows a declared range."""

import tempfile
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ops.benchmarks.bandits.newcomers.curves import Trial, summed_up
from ops.benchmarks.bandits.newcomers.worlds import HORIZON, World

Floats = NDArray[np.float64]

VW_SETTINGS = {
    "VW squarecb 100": "--squarecb --gamma_scale 100 -l 0.1",
    "VW squarecb 1000": "--squarecb --gamma_scale 1000 -l 0.1",
    "VW bag 5": "--bag 5 -l 0.1",
    "VW epsilon .05": "--epsilon 0.05 -l 0.1",
    "VW softmax": "--softmax --lambda 50 -l 0.1",
}
MABWISER = ("mabwiser Thompson", "mabwiser UCB1", "mabwiser UCB1 .3", "mabwiser epsilon .05")


def installed() -> list[str]:
    """Return the learners whose library is installed."""
    vw = list(VW_SETTINGS) if find_spec("vowpalwabbit") else []
    return vw + (list(MABWISER) if find_spec("mabwiser") else [])


def trials(world: World, learner: str, seeds: Sequence[int]) -> list[Trial]:
    """Try the newcomer once for each seed.

    The trials of a call share one history of Vowpal Wabbit's, which learns from each decision
    before the next; mabwiser's incumbents share theirs evenly, and it learns in our batches.
    """
    if learner in VW_SETTINGS:
        return list(_vw_trials(world, VW_SETTINGS[learner], seeds))
    return [summed_up(_mabwiser(world, learner, seed)) for seed in seeds]


def _vw_trials(world: World, options: str, seeds: Sequence[int]) -> Iterator[Trial]:
    from vowpalwabbit import Workspace

    rates = [world.rate] * world.incumbents
    with tempfile.TemporaryDirectory() as scratch:
        model = str(Path(scratch) / "history")
        vw = Workspace(f"--cb_explore_adf {options} --quiet --random_seed {seeds[0]}")
        for _ in _vw_decisions(vw, rates, world.history, np.random.default_rng([98, seeds[0]])):
            pass
        vw.save(model)
        vw.finish()
        for seed in seeds:
            vw = Workspace(f"--quiet -i {model}")
            rng = np.random.default_rng([99, seed])
            horizon = HORIZON * world.sample
            yield summed_up(
                np.fromiter(_vw_decisions(vw, [*rates, world.newcomer_rate], horizon, rng), float)
            )
            vw.finish()


def _vw_decisions(
    vw: Any, rates: list[float], decisions: int, rng: np.random.Generator
) -> Iterator[float]:
    """Decide and learn one by one; give the probability of the last action at each decision."""
    lines = [f"|A a{i:02}" for i in range(len(rates))]
    for drawn, luck in rng.random((decisions, 2)):
        examples = vw.parse(lines)
        p = vw.predict(examples)
        cumulative = np.cumsum(p)
        at = int(np.searchsorted(cumulative, drawn * cumulative[-1], side="right"))
        action = min(at, len(p) - 1)
        cost = -float(luck < rates[action])
        examples[action].set_label_string(f"0:{cost:g}:{max(p[action], 1e-6):.6g}")
        vw.learn(examples)
        vw.finish_example(examples)
        yield p[-1]


def _mabwiser(world: World, learner: str, seed: int) -> Floats:
    """Give 1 for each decision that chose the newcomer, for mabwiser tells no probabilities."""
    from mabwiser.mab import MAB, LearningPolicy

    policies = {
        "mabwiser Thompson": LearningPolicy.ThompsonSampling,
        "mabwiser UCB1": LearningPolicy.UCB1,
        "mabwiser UCB1 .3": lambda: LearningPolicy.UCB1(alpha=0.3),
        "mabwiser epsilon .05": lambda: LearningPolicy.EpsilonGreedy(epsilon=0.05),
    }
    rng = np.random.default_rng([99, seed])
    k = world.incumbents
    mab = MAB(list(range(k)), policies[learner](), seed=seed)
    history = world.history
    mab.fit(np.arange(history) % k, (rng.random(history) < world.rate).astype(float))
    mab.add_arm(k)
    rates = np.append(np.full(k, world.rate), world.newcomer_rate)
    horizon = HORIZON * world.sample
    chosen = np.empty(horizon, dtype=np.intp)
    for start in range(0, horizon, world.batch):
        stop = min(start + world.batch, horizon)
        actions = np.array([mab.predict() for _ in range(start, stop)], dtype=np.intp)
        chosen[start:stop] = actions
        mab.partial_fit(actions, (rng.random(stop - start) < rates[actions]).astype(float))
    return (chosen == k).astype(float)
