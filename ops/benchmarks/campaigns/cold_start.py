"""Measure what neighbours are worth to actions that arrive while a slot learns.

Twenty actions learn for a while; then five more arrive, each of whose tastes resemble one of the
old ones'. An action's content vector is a random projection of its tastes, seen through noise, and
its neighbours are those nearest by cosine. Only the new ones are given neighbours, so all goes the
same way until they arrive. Measured are the first decisions after the arrival: the
true click rate of what was chosen as a share of the best one's, regret in clicks, and the true rate
of the first impressions of each new action. Also where the vectors say nothing, and where the new
actions resemble nobody.
"""

import argparse
import os
import statistics
import sys
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from multiprocessing import get_context

import numpy as np
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from flows.devkit.visitors import FACTORS, Items, Visitors
from operators.logic.deciding.propensity import choose
from operators.logic.policies import Deltas, make_policy
from operators.logic.policies.base import Floats
from ops.benchmarks.bandits.bars import mean_and_error
from ops.benchmarks.reporting.judged import JudgedBar, report

OLD, NEW = 20, 5
BATCH = 250
VECTOR = 16
NEIGHBOURS = 3
KINSHIP = 0.9
NOISE = 0.3
FIRST = 200
"""Impressions of a new action that count as its first."""

WORTH, HARM = 0.2, -0.01
"""The least lead of neighbours: in the new ones' click rate, percentage points, where they are kin;
in the share of the best, whatever the vectors say."""

WORLDS = ("kin", "kin, vectors say nothing", "strangers")
ARMS = {
    "none": (False, 0.0),
    "features": (True, 0.0),
    "neighbours": (False, 1.0),
    "both": (True, 1.0),
}
"""Whether item features are given, and the policy's parameter ``neighbours``."""

LEADS = (
    ("logistic", "neighbours", "none"),
    ("logistic", "both", "features"),
    ("beta", "neighbours", "none"),
)


@dataclass
class Row:
    """One learner in one world: shares, regret and rate after the arrival."""

    world: str
    kind: str
    arm: str
    seed: int
    share: float
    regret: float
    rate: float


def main() -> int:
    """Run, print, write; 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(930, 946)))
    parser.add_argument("--before", type=int, default=20_000, help="decisions before (20,000)")
    parser.add_argument("--after", type=int, default=5_000, help="decisions measured (5,000)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--quick", action="store_true", help="two seeds, a tenth of the decisions")
    options = parser.parse_args()
    if options.quick:
        options.seeds, options.before, options.after = options.seeds[:2], 2_000, 500
    tasks = [
        (world, kind, arm, seed)
        for seed in options.seeds
        for world in WORLDS
        for kind in ("logistic", "beta")
        for arm in ARMS
        if kind == "logistic" or not ARMS[arm][0]
    ]
    with threadpool_limits(1), ProcessPoolExecutor(options.jobs, get_context("fork")) as pool:
        work = partial(measure, before=options.before, after=options.after)
        rows = list(pool.map(work, tasks))
    return print_and_judge(rows, judge(rows, full=not options.quick and len(options.seeds) >= 5))


def measure(task: tuple[str, str, str, int], before: int, after: int) -> Row:
    """Let one learner meet the new actions."""
    world, kind, arm, seed = task
    rng = np.random.default_rng([31, seed])
    visitors, vectors = make_world(world, seed)
    described, lean = ARMS[arm]
    dim = 0 if kind == "beta" else 32
    policy = make_policy(kind, {"neighbours": lean}, dim)
    names = [f"a{i:02}" for i in range(OLD + NEW)]
    features = visitors.items.features if described else None
    nearest = neighbours(vectors, names)
    chances, share, best = [], 0.0, 0.0
    impressions: defaultdict[int, list[float]] = defaultdict(list)
    for start in range(0, before + after, BATCH):
        known = OLD if start < before else OLD + NEW
        rows = None if features is None else features[:known]
        near = {name: nearest[name] for name in names[OLD:known]}
        policy.set_actions(names[:known], rows, near)
        who, hours = visitors.arrivals(BATCH, rng)
        x = visitors.x(who, hours)[:, :dim]
        p = visitors.p(who, hours)[:, :known]
        posterior = policy.publish()
        weights = posterior.weigh(x)
        actions = choose(weights.p, rng.random(BATCH))
        everyone = np.arange(BATCH)
        worth = p[everyone, actions]
        reward = (rng.random(BATCH) < worth).astype(float)
        when = start + np.arange(BATCH, dtype=float)
        ids = [names[action] for action in actions]
        policy.learn(
            Deltas(
                action_ids=ids,
                x=x,
                eta=weights.eta[everyone, actions],
                time=when,
                count_delta=np.ones(BATCH),
                reward_delta=reward,
            )
        )
        if start >= before:
            share += float(worth.sum())
            best += float(p.max(axis=1).sum())
            for action, chance in zip(actions.tolist(), worth.tolist(), strict=True):
                if action >= OLD:
                    impressions[action].append(chance)
    for seen in impressions.values():
        chances += seen[:FIRST]
    rate = statistics.fmean(chances) if chances else float("nan")
    return Row(world, kind, arm, seed, share / best, best - share, rate)


def make_world(world: str, seed: int) -> tuple[Visitors, Floats]:
    """Give visitors of whom the last variants resemble earlier ones, and the content vectors."""
    rng = np.random.default_rng([32, seed])
    visitors = Visitors(seed, OLD + NEW)
    if world != "strangers":
        visitors.change(_with_kin(visitors.items, rng))
    items = visitors.items
    tastes = np.hstack(
        [
            np.sqrt(FACTORS) * items.v,
            items.bias[:, None] / 0.35,
            items.by_segment.T / 0.3,
            items.by_region.T / 0.2,
        ]
    )
    projection = rng.standard_normal((tastes.shape[1], VECTOR)) / np.sqrt(tastes.shape[1])
    vectors = tastes @ projection + NOISE * rng.standard_normal((len(tastes), VECTOR))
    if world == "kin, vectors say nothing":
        vectors = rng.standard_normal(vectors.shape)
    return visitors, vectors


def _with_kin(items: Items, rng: np.random.Generator) -> Items:
    parents = rng.choice(OLD, NEW, replace=False)

    def near(values: Floats) -> Floats:
        """Values [K, ...] whose last rows are correlated with their parents'."""
        made = values.copy()
        made[OLD:] = KINSHIP * values[parents] + np.sqrt(1 - KINSHIP**2) * values[OLD:]
        return made

    v = near(items.v)
    features = items.features.copy()
    seen = np.sqrt(FACTORS) * v + NOISE * rng.standard_normal(v.shape)
    features[OLD:, :FACTORS] = seen[OLD:]
    return replace(
        items,
        v=v,
        bias=near(items.bias),
        nonlinear=near(items.nonlinear),
        by_region=near(items.by_region.T).T,
        by_segment=near(items.by_segment.T).T,
        features=features,
    )


def neighbours(vectors: Floats, names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Give the nearest by cosine of each, where it is above 0."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -1.0)
    return {
        name: {
            names[j]: float(cosine[i, j])
            for j in np.argsort(-cosine[i], kind="stable")[:NEIGHBOURS]
            if cosine[i, j] > 0.0
        }
        for i, name in enumerate(names)
    }


def judge(rows: Sequence[Row], full: bool) -> list[JudgedBar]:
    """Judge the leads of neighbours, seed by seed; a quick run is too small to fail."""
    bars = []
    for world in WORLDS:
        for kind, arm, rival in LEADS:
            ours, theirs = _of(rows, world, kind, arm), _of(rows, world, kind, rival)
            pairs = [(ours[seed], theirs[seed]) for seed in ours]
            rates = [100.0 * (our.rate - their.rate) for our, their in pairs]
            shares = [our.share - their.share for our, their in pairs]
            name = f"{kind}, {world}: {arm} over {rival}"
            if world == "kin" and kind == "logistic":
                bars.append(_bar(f"{name}, new ones' rate", rates, WORTH, full))
            bars.append(_bar(f"{name}, share of the best", shares, HARM, full))
    return bars


def _bar(name: str, leads: list[float], least: float, full: bool) -> JudgedBar:
    mean, error = mean_and_error(leads)
    return JudgedBar(name, f">= {least:g}", f"{mean:+.4f} ± {error:.4f}", not full or mean >= least)


def _of(rows: Sequence[Row], world: str, kind: str, arm: str) -> dict[int, Row]:
    wanted = (world, kind, arm)
    return {row.seed: row for row in rows if (row.world, row.kind, row.arm) == wanted}


def print_and_judge(rows: Sequence[Row], bars: Sequence[JudgedBar]) -> int:
    """Print figures and bars, write them as JSON, and give the exit status."""
    console = Console(width=120)
    table = Table(title=f"After {NEW} new actions: mean ± standard error over seeds")
    titles = ("world", "policy", "prior from", "share of the best", "regret, clicks", "new ones' %")
    for title in titles:
        table.add_column(title)
    groups: defaultdict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.world, row.kind, row.arm].append(row)
    for key, group in groups.items():
        share = mean_and_error([row.share for row in group])
        regret = mean_and_error([row.regret for row in group])
        rate = mean_and_error([100.0 * row.rate for row in group if np.isfinite(row.rate)])
        table.add_row(
            *key,
            f"{share[0]:.4f} ± {share[1]:.4f}",
            f"{regret[0]:.0f} ± {regret[1]:.0f}",
            f"{rate[0]:.2f} ± {rate[1]:.2f}",
        )
    console.print(table)
    return report("cold_start", "Bars", bars, rows=[asdict(row) for row in rows])


if __name__ == "__main__":
    sys.exit(main())
