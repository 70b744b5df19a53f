"""A learner against Vowpal Wabbit's best, seed by seed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t

from ops.benchmarks.bandits.ranking.environments import SETS, STREAMS
from ops.benchmarks.bandits.ranking.tasks import Row
from ops.benchmarks.reporting.judged import JudgedBar

CONFIDENCE = 0.95

LETTERS = dict(zip(STREAMS, "abde", strict=True))
"""The environments' letters in the issue."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Differences of fractions of the oracle, ``learner`` less ``rival``, after ``events``."""

    environment: str
    learner: str
    rival: str
    events: int
    differences: dict[int, float]

    @property
    def mean(self) -> float:
        """Of the differences over seeds."""
        return float(np.mean(list(self.differences.values())))

    @property
    def error(self) -> float:
        """The mean's standard error; infinite for one seed."""
        n = len(self.differences)
        values = list(self.differences.values())
        return float(np.std(values, ddof=1) / np.sqrt(n)) if n > 1 else float("inf")

    @property
    def half_width(self) -> float:
        """Of the two-sided 95 % interval (Student's t); infinite for one seed."""
        n = len(self.differences)
        quantile = float(t.ppf((1.0 + CONFIDENCE) / 2.0, n - 1)) if n > 1 else 1.0
        return quantile * self.error

    @property
    def low(self) -> float:
        """The interval's lower end."""
        return self.mean - self.half_width


def paired(rows: Sequence[Row], environment: str, learner: str, events: int) -> Pairs | None:
    """Compare on the seeds that both have; None where there are none.

    The rival is the setting of VW's with the highest mean on those very seeds, in its favour.
    """
    figures: dict[str, dict[int, float]] = {}
    for row in rows:
        if row.environment == environment and events in row.fractions:
            figures.setdefault(row.learner, {})[row.seed] = row.fractions[events]
    ours = figures.get(learner, {})
    theirs = {
        who: of for who, of in figures.items() if who.startswith("VW") and of.keys() >= ours.keys()
    }
    if not ours or not theirs:
        return None
    best = max(theirs, key=lambda who: float(np.mean([theirs[who][seed] for seed in ours])))
    differences = {seed: ours[seed] - theirs[best][seed] for seed in sorted(ours)}
    return Pairs(environment, learner, best, events, differences)


def bars(rows: Sequence[Row], learner: str) -> list[JudgedBar]:
    """Judge a learner: by its bound on the streams, by its mean on the classification sets."""
    streams = {row.environment for row in rows} & LETTERS.keys()
    found = [
        _bound(
            paired(rows, name, learner, events), f"({LETTERS[name]}) {name}", events, least, strict
        )
        for name in STREAMS
        if name in streams
        for events, least, strict in ((10_000, -0.02, False), (200_000, 0.0, True))
    ]
    if STREAMS[0] in streams:
        found.append(_ahead(paired(rows, STREAMS[0], learner, 200_000)))
    return found + _sets(rows, learner)


def _bound(pairs: Pairs | None, name: str, events: int, least: float, strict: bool) -> JudgedBar:
    title = f"{name}, {events:,} events, 95 % bound of the difference to VW's best"
    limit = f"> {least:g}" if strict else f">= {least:g}, ± at most 0.02"
    if pairs is None:
        return JudgedBar(title, limit, "not run", None)
    met = pairs.low > least if strict else pairs.low >= least and pairs.half_width <= 0.02
    figure = f"{pairs.low:+.3f} ({pairs.mean:+.3f} ± {pairs.half_width:.3f}, {pairs.rival})"
    return JudgedBar(title, limit, figure, met if len(pairs.differences) >= 5 else None)


def _ahead(pairs: Pairs | None) -> JudgedBar:
    title = "(a) 200,000 events, mean difference to VW's best"
    if pairs is None:
        return JudgedBar(title, ">= 0.03", "not run", None)
    met = pairs.mean >= 0.03 if len(pairs.differences) >= 5 else None
    return JudgedBar(title, ">= 0.03", f"{pairs.mean:+.3f} ± {pairs.error:.3f}", met)


def _sets(rows: Sequence[Row], learner: str) -> list[JudgedBar]:
    last = {row.environment: row.last for row in rows if row.environment in SETS}
    found = [paired(rows, name, learner, last[name]) for name in SETS if name in last]
    means = [pairs.mean for pairs in found if pairs is not None]
    enough = len(means) == len(SETS) and all(len(p.differences) >= 5 for p in found if p)
    titles = ("(c) sets on which the mean is at least VW's best", "(c) the worst mean difference")
    if not means:
        return [
            JudgedBar(titles[0], ">= 4 of 6", "not run", None),
            JudgedBar(titles[1], ">= -0.02", "not run", None),
        ] if last else []  # fmt: skip
    level, worst = sum(mean >= 0.0 for mean in means), min(means)
    return [
        JudgedBar(
            titles[0], ">= 4 of 6", f"{level} of {len(means)}", level >= 4 if enough else None
        ),
        JudgedBar(titles[1], ">= -0.02", f"{worst:+.3f}", worst >= -0.02 if enough else None),
    ]
