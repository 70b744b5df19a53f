"""The bars of the learning core: each with its figure and whether it is met."""

import numpy as np

from ops.benchmarks.bandits import open_bandit as obd
from ops.benchmarks.bandits.plan import STATIONARY as CONTEXTUAL
from ops.benchmarks.bandits.propensities import accuracy, cost, largest_z
from ops.benchmarks.bandits.runner import Row
from ops.benchmarks.bandits.speeds import Speed
from ops.benchmarks.reporting.judged import JudgedBar


def mean_and_error(values: list[float]) -> tuple[float, float]:
    """Give the mean and its standard error (0 for one value)."""
    error = float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0
    return float(np.mean(values)), error


def _figures(rows: list[Row], environment: str, learner: str, events: int) -> dict[int, float]:
    return {
        row.seed: row.fractions[events]
        for row in rows
        if row.environment == environment and row.learner == learner and events in row.fractions
    }


def quality(rows: list[Row], full: bool) -> list[JudgedBar]:
    """Judge the fractions of the oracle."""
    result = [
        _at_least(rows, CONTEXTUAL, "logistic", 200_000, 0.83, full),
        _at_least(rows, CONTEXTUAL, "logistic", 50_000, 0.75, full),
        _lead(rows, 200_000, 0.03, full),
        _lead(rows, 10_000, -0.03, full),
        _at_least(rows, "contextual-abrupt-20", "logistic", 200_000, 0.69, full),
        _at_least(rows, "contextual-drift-20", "logistic", 200_000, 0.70, full),
        _at_least(rows, "plain-none-50", "beta", 200_000, 0.95, full),
        _at_least(rows, "delayed-5000", "logistic, immediate", 100_000, 0.75, full),
    ]
    for environment, limit in (("digits", 0.90), ("segments", 0.88)):
        events = max((row.events for row in rows if row.environment == environment), default=0)
        result.append(_at_least(rows, environment, "gaussian", events, limit, full))
    return result


def _at_least(
    rows: list[Row], environment: str, learner: str, events: int, limit: float, full: bool
) -> JudgedBar:
    figures = list(_figures(rows, environment, learner, events).values())
    name = f"{environment}, {learner}, {events:,} events"
    if not figures:
        return JudgedBar(name, f">= {limit}", "not run", None)
    mean, error = mean_and_error(figures)
    return JudgedBar(
        name, f">= {limit}", f"{mean:.3f} ± {error:.3f}", mean >= limit if full else None
    )


def _lead(rows: list[Row], events: int, limit: float, full: bool) -> JudgedBar:
    """Compare with the VW setting that is best at that number of events, seed by seed."""
    name = f"{CONTEXTUAL}, paired lead over VW's best, {events:,} events"
    ours = _figures(rows, CONTEXTUAL, "logistic", events)
    settings = sorted({row.learner for row in rows if row.learner.startswith("VW")})
    theirs = {who: _figures(rows, CONTEXTUAL, who, events) for who in settings}
    theirs = {who: figures for who, figures in theirs.items() if figures.keys() == ours.keys()}
    if not ours or not theirs:
        return JudgedBar(name, f">= {limit}", "not run", None)
    best = max(theirs, key=lambda who: float(np.mean(list(theirs[who].values()))))
    mean, error = mean_and_error([ours[seed] - theirs[best][seed] for seed in ours])
    figure = f"{mean:+.3f} ± {error:.3f} ({best})"
    return JudgedBar(name, f">= {limit}", figure, mean >= limit if full else None)


def open_bandit() -> JudgedBar:
    """Compare the value of Thompson sampling on the Open Bandit sample with the published one."""
    value = obd.ipw_value()
    passed = round(value, 6) == obd.PUBLISHED
    name = "Open Bandit sample, IPW value of Bernoulli TS"
    return JudgedBar(name, f"= {obd.PUBLISHED:.6f}", f"{value:.6f}", passed)


def speed(measured: list[Speed]) -> list[JudgedBar]:
    """Compare decide + learn, 20 actions, 32 features, batch 250, with VW in Python."""
    of = {found.learner: found.median for found in measured}
    vw = max((speed for name, speed in of.items() if name.startswith("VW")), default=0.0)
    result = []
    for learner, limit in (("logistic", 10.0), ("logistic, sampled", 20.0)):
        name = f"events/s per core over VW's fastest, {learner}"
        if not vw:
            result.append(JudgedBar(name, f">= {limit:g} x", "not run", None))
            continue
        ratio = of[learner] / vw
        figure = f"{ratio:.1f} x ({of[learner]:,.0f} against {vw:,.0f})"
        result.append(JudgedBar(name, f">= {limit:g} x", figure, ratio >= limit))
    return result


def propensities(seed: int, quick: bool) -> list[JudgedBar]:
    """Judge the quadrature."""
    result = []
    rows = 20 if quick else 200
    sums = 0.0
    for ratio, limit in ((1.0, 1e-3), (3.0, 1e-3), (6.0, 1e-3), (30.0, 1e-2), (100.0, 1e-2)):
        measured = accuracy(ratio, rows, seed)
        sums = max(sums, measured.sum_error)
        name = f"propensity relative error p99, widths 1:{ratio:g}"
        figure = f"{measured.p99:.1e} (largest {measured.largest:.1e})"
        result.append(JudgedBar(name, f"<= {limit:g}", figure, measured.p99 <= limit))
    result.append(JudgedBar("propensities sum to 1", "<= 1e-9", f"{sums:.1e}", sums <= 1e-9))
    worst, limit = largest_z(3 if quick else 10, 200_000 if quick else 1_000_000, seed)
    name = "propensities against draws, largest |z| (error rate 1e-4)"
    result.append(JudgedBar(name, f"<= {limit:.2f}", f"{worst:.2f}", worst <= limit))
    scoring, weighing = cost(seed, 5_000 if quick else 20_000)
    figure = f"{weighing / scoring:.1f} x ({weighing:.1f} against {scoring:.1f} us)"
    result.append(
        JudgedBar("propensity cost over scoring", "<= 8 x", figure, weighing <= 8.0 * scoring)
    )
    return result
