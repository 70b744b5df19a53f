"""What the whole flow is held against: the bare echo, the naive loop, a checkout before."""

from ops.benchmarks.speed.points import CPU, P50, P99, Figures, at

ABOVE_ECHO = {1000: {P50: 10.0, P99: 25.0}}
"""Milliseconds by requests/s: what an answer may take beside the broker's bare echo."""

IDLE_SHARE = 4.0
"""Percent of a core."""

NAIVE_RATIO = 1.4
"""How many times our CPU per event the naive loop takes over a backlog."""

CPU_RATIO = {1000: 0.6, 5000: 0.75}
"""What an event may cost, after over before, by requests/s."""

BACKLOG_RATIO = 0.8
P99_RATIO = {5000: 0.5}


def above_echo(figures: Figures, rate: int, column: str) -> float | None:
    """Give by how many milliseconds an answer took longer than the broker's bare echo."""
    ours, echo = figures.get((at(rate), column)), figures.get((at(rate, "echo"), column))
    return None if ours is None or echo is None else ours - echo


def naive_over_ours(figures: Figures, naive: str, ours: str) -> float | None:
    """Give how many times our CPU per event the naive loop takes."""
    theirs, own = figures.get((naive, CPU)), figures.get((ours, CPU))
    return None if theirs is None or own is None else theirs / own
