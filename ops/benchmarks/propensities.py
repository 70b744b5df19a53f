"""Measure joint propensities: their error against draws, how they explore, and what they cost.

The posteriors are those of a linear model of random action features: of 4, 8, 16, 32 or 64
numbers, after 0, 10, 100 or 1,000 rewards, with an independent residual of each action of 0, 0.1 or
1 times the shared variance. So a quarter of them are cold starts, which are the hardest. The 99th
percentile is over posteriors. Prints CPU and writes it under ``ops/benchmarks/results/``.
"""

import argparse
import sys
import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from operators.logic.deciding.joint_propensity import joint_probabilities, padded
from operators.logic.deciding.propensity import mix, spread_floor
from operators.logic.kernels import load_kernels
from operators.logic.policies.joint_scores import JointScores
from ops.benchmarks.reporting.judged import JudgedBar, report

Floats = NDArray[np.float64]

COUNTS = (2, 10, 20, 50, 200, 1000)
JUDGED = (2, 20, 50)
WIDTHS, SEEN, OWN = (4, 8, 16, 32, 64), (0, 10, 100, 1000), (0.0, 0.1, 1.0)
MEDIAN, P99 = 0.01, 0.03
ALONE, BATCH = 1000.0, 120.0
"""Microseconds of CPU for 50 candidates: a decision of its own, and each of a batch."""

GAMMA = 0.1
BATCH_ROWS = 20_000
"""Candidates of a batch whose cost is measured."""


def posterior(
    rng: np.random.Generator, count: int, width: int, seen: int, own: float
) -> JointScores:
    """Learn a linear model from random actions, and score new ones by it."""
    truth, x = rng.normal(size=width) / width**0.5, rng.normal(size=(seen, width))
    covariance = np.linalg.inv(width * np.eye(width) + x.T @ x)
    mean = covariance @ (x.T @ (x @ truth + rng.normal(size=seen)))
    actions = rng.normal(size=(count, width))
    factor = actions @ np.linalg.cholesky(covariance)
    alone = own * np.square(factor).sum(axis=1).mean()
    return JointScores(actions @ mean, factor, np.full(count, alone))


def posteriors(seed: int, count: int, each: int) -> Iterator[JointScores]:
    """Give ``each`` posteriors of every kind, in turn."""
    rng = np.random.default_rng([16, seed, count])
    for _ in range(each):
        for width in WIDTHS:
            for seen in SEEN:
                for own in OWN:
                    yield posterior(rng, count, width, seen, own)


def shares(rng: np.random.Generator, scores: JointScores, draws: int) -> Floats:
    """Give the share of plain draws in which each candidate is the best."""
    count, width = scores.factor.shape
    rows = max(1, 1_000_000 // max(count, width))
    counts, done = np.zeros(count), 0
    while done < draws:
        rows = min(rows, draws - done)
        drawn = rng.standard_normal((rows, width)) @ scores.factor.T + scores.mean
        if scores.own.any():
            drawn += rng.standard_normal((rows, count)) * np.sqrt(scores.own)
        counts += np.bincount(drawn.argmax(axis=1), minlength=count)
        done += rows
    return counts / draws


def cost(batch: list[JointScores], rounds: int) -> float:
    """Give CPU microseconds per decision of a call for one model's decisions: the least of some."""
    together = JointScores(
        np.concatenate([scores.mean for scores in batch]),
        np.concatenate([scores.factor for scores in batch]),
        np.concatenate([scores.own for scores in batch]),
        np.cumsum([0, *(len(scores.mean) for scores in batch)]),
    )
    spent = []
    for _ in range(rounds):
        began = time.process_time()
        joint_probabilities(together)
        spent.append(time.process_time() - began)
    return min(spent) / len(batch) * 1e6


def bars_of(seed: int, count: int, each: int, draws: int) -> Iterator[JudgedBar]:
    """Measure one number of candidates."""
    rng = np.random.default_rng([17, seed, count])
    kinds = list(posteriors(seed, count, each))
    errors, noise, effective, usable, best = [], [], [], [], []
    for scores in kinds:
        p = joint_probabilities(scores)
        if draws:
            truth = shares(rng, scores, draws)
            errors.append(0.5 * np.abs(p - truth).sum())
            noise.append(np.sqrt(truth * (1.0 - truth) / (2.0 * np.pi * draws)).sum())
        # The mean of 1 / p of the chosen is the number of candidates, whatever p is. What a log is
        # worth to estimate the uniform policy: the share that its effective size is (Kish).
        logged = (1.0 - GAMMA) * p + GAMMA / count
        usable.append(count**2 / (1.0 / logged).sum())
        effective.append(1.0 / np.square(p).sum())
        best.append(p[scores.mean.argmax()])
    name = f"{count} candidates"
    if errors:
        median, p99 = np.quantile(errors, [0.5, 0.99])
        passed = bool(median <= MEDIAN and p99 <= P99) if count in JUDGED and each >= 2 else None
        figure = f"{median:.4f}, {p99:.4f} (noise of the draws {np.median(noise):.4f})"
        yield JudgedBar(
            f"{name}: total variation, median and p99 of {len(errors)}",
            f"<= {MEDIAN:g}, {P99:g}" if count in JUDGED else "-", figure, passed
        )  # fmt: skip
    figure = f"{np.median(effective):.1f}, {np.mean(best):.3f}, {np.mean(usable):.2f}"
    title = f"{name}: 1 / sum p^2, P(best mean), effective size of uniform IPS per decision"
    yield JudgedBar(title, "-", figure, None)
    rounds = 30 if count <= 200 else 3
    singles = [cost([scores], rounds) for scores in kinds[: len(WIDTHS) * len(SEEN) * len(OWN)]]
    mean, most = float(np.mean(singles)), float(np.max(singles))
    judged = count == 50
    yield JudgedBar(
        f"{name}: CPU of one alone, mean and most", f"<= {ALONE:g} µs" if judged else "-",
        f"{mean:.0f}, {most:.0f} µs", mean <= ALONE if judged else None
    )  # fmt: skip
    for seen, label in ((slice(None), "all kinds"), (SEEN[2:], "of 100 rewards or more")):
        chosen = [
            scores
            for number, scores in enumerate(kinds)
            if seen == slice(None) or SEEN[number // len(OWN) % len(SEEN)] in seen
        ]
        batches = []
        for width in WIDTHS:
            batch = [scores for scores in chosen if scores.factor.shape[1] == width]
            size = max(1, BATCH_ROWS // count)
            batches.append((batch * (size // len(batch) + 1))[:size])
        spent = float(np.mean([cost(batch, 3) for batch in batches]))
        limited = judged and seen == slice(None)
        yield JudgedBar(
            f"{name}: CPU in batches, {label}", f"<= {BATCH:g} µs" if limited else "-",
            f"{spent:.1f} µs", spent <= BATCH if limited else None
        )  # fmt: skip


def coverage(seed: int, runs: int, decisions: int, target: str) -> float:
    """Give how often IPS's normal interval of 95 % covers a known policy's value.

    Each run draws decisions among 200 posteriors of 20 candidates, actions from the propensities
    with the floor, and rewards of 0 and 1 whose rates fall off as the posterior's means do.
    """
    rng = np.random.default_rng([18, seed])
    pool = [posterior(rng, 20, 8, int(rng.integers(0, 100)), 0.1) for _ in range(200)]
    scores = JointScores(
        np.concatenate([one.mean for one in pool]),
        np.concatenate([one.factor for one in pool]),
        np.concatenate([one.own for one in pool]),
        np.arange(len(pool) + 1) * 20,
    )
    p = padded(joint_probabilities(scores), scores.indptr)
    logging = mix(p, floor=spread_floor(p > 0.0, GAMMA))
    means = padded(scores.mean, scores.indptr)
    rates = 1.0 / (1.0 + np.exp(-means))
    policy = np.full(p.shape, 0.05) if target == "uniform" else np.exp(2.0 * means)
    policy /= policy.sum(axis=1, keepdims=True)
    value, covered = float((policy * rates).sum(axis=1).mean()), 0
    cumulative = logging.cumsum(axis=1)
    for _ in range(runs):
        row, u = rng.integers(0, len(pool), decisions), rng.random(decisions)
        action = np.minimum((cumulative[row] <= u[:, None]).sum(axis=1), 19)
        weight = policy[row, action] / logging[row, action]
        earned = weight * (rng.random(decisions) < rates[row, action])
        half = 1.959964 * earned.std(ddof=1) / decisions**0.5
        covered += bool(abs(earned.mean() - value) <= half)
    return covered / runs


def main() -> int:
    """Measure and print one table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--each", type=int, default=5, help="posteriors of each of 60 kinds")
    arguments.add_argument("--draws", type=int, default=1_000_000, help="per posterior")
    arguments.add_argument("--counts", type=int, nargs="*", default=list(COUNTS))
    arguments.add_argument("--quick", action="store_true", help="one of each kind, 50,000 draws")
    options = arguments.parse_args()
    each, draws = (1, 50_000) if options.quick else (options.each, options.draws)
    load_kernels()
    bars = []
    for count in options.counts:
        large = count > 50
        # A million draws of a thousand candidates take a minute for each posterior.
        bars += bars_of(options.seed, count, 1 if large else each, draws // 10 if large else draws)
    runs, decisions = (200, 4_000) if options.quick else (2_000, 4_000)
    for target in ("uniform", "softmax"):
        share = coverage(options.seed, runs, decisions, target)
        name = f"IPS of a {target} policy, gamma {GAMMA:g}, {runs} runs of {decisions}: coverage"
        passed = None if options.quick else 0.94 <= share <= 0.965
        bars.append(JudgedBar(name, "94 to 96.5 %", f"{100 * share:.2f} %", passed))
    return report("propensities", "Joint propensities", bars)


if __name__ == "__main__":
    sys.exit(main())
