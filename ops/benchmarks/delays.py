"""How far each learning mode's running estimate is from the truth while rewards are delayed.

Decisions come evenly for an hour of event time; 5 % of them (10 % after half an hour) earn a
reward after a random delay, and the reward window is ten minutes. The estimate is the rewards
taught so far over the decisions taught so far; the truth is the same ratio for a learner that knows
the future of every decision made so far. The error is relative to the truth.
"""

import argparse
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from operators.envelope import Event, Origin
from operators.logic.attribution import Attribution
from ops.benchmarks.reporting.judged import write_result
from ops.benchmarks.reporting.machine import RESULTS, machine_line
from schemas.catalog import Slot
from schemas.clock import ALWAYS, micros, moment
from schemas.events import DecisionBack, LearningMode, Reward

MODES: tuple[LearningMode, ...] = ("immediate", "exposure", "wait")
WINDOW = 600.0
HOUR = 3600.0
LATENESS = 1.0
TICK = 5.0
START = micros(datetime(2026, 3, 1, tzinfo=UTC))
MOMENTS = (75.0, 300.0, 600.0, 1200.0, 1800.0, 1875.0, 2400.0, 3600.0)

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Floats]

DELAYS: dict[str, Draw] = {
    "exponential, mean 20 s": lambda rng, n: rng.exponential(20.0, n),
    "exponential, mean 120 s": lambda rng, n: rng.exponential(120.0, n),
    "Pareto, shape 0.6, from 2 s": lambda rng, n: 2.0 * (1.0 + rng.pareto(0.6, n)),
    "lognormal, median 60 s, sigma 1.5": lambda rng, n: 60.0 * np.exp(1.5 * rng.normal(size=n)),
}


def main() -> None:
    """Run every mode on the same events of every delay distribution."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rate", type=float, default=20.0, help="decisions/s")
    parser.add_argument("--quick", action="store_true", help="one seed, 5 decisions/s")
    args = parser.parse_args()
    if args.quick:
        args.seeds, args.rate = 1, 5.0
    rows = []
    print(f"{'delay':34}{'mode':>10}{'mean':>8}{'end':>6} | error (%) after seconds")
    print(" " * 60 + "".join(f"{at:8.0f}" for at in MOMENTS))
    for name, draw in DELAYS.items():
        for mode in MODES:
            runs = [errors(mode, draw, args.rate, seed) for seed in range(args.seeds)]
            mean, end, curve = (np.mean([run[i] for run in runs], axis=0) for i in range(3))
            rows.append({"delay": name, "mode": mode, "mean": mean, "end": end, "curve": curve})
            shown = "".join(f"{100 * curve[round(at / TICK) - 1]:8.1f}" for at in MOMENTS)
            print(f"{name:34}{mode:>10}{100 * mean:8.1f}{100 * end:6.1f} |{shown}", flush=True)
    print(machine_line())
    write_result("delays", rows=[{**row, "curve": list(row["curve"])} for row in rows])
    if find_spec("matplotlib"):
        plot(RESULTS / "delays.svg", rows)
    if any(row["end"] for row in rows):
        raise SystemExit("after settlement a mode differs from the truth")


def errors(mode: LearningMode, draw: Draw, rate: float, seed: int) -> tuple[float, float, Floats]:
    """Give the mean relative error over the hour, the one after settlement, that at every tick.

    An estimate that does not exist yet counts as an error of 100 %.
    """
    rng = np.random.default_rng(seed)
    made = np.arange(0.0, HOUR, 1.0 / rate)
    pays = rng.random(len(made)) < np.where(made < HOUR / 2, 0.05, 0.10)
    delay = draw(rng, len(made))
    counts = pays & (delay <= WINDOW)
    events = sorted(history(mode, made, pays, delay), key=lambda event: event.at)
    slot = Slot(
        id="1", time=moment(0), slot_id="home", reward_window=WINDOW, needs_impression=False
    )
    attribution = Attribution(round(LATENESS * 1e6), 10**9, 10**6)
    decisions = rewards = 0.0
    found, at, place = [], 0.0, 0
    while at < HOUR + 2 * WINDOW:
        at += TICK
        watermark = START + round(at * 1e6)
        first = place
        while place < len(events) and events[place].at <= watermark:
            place += 1
        last = at >= HOUR + 2 * WINDOW
        step = attribution.step(events[first:place], ALWAYS if last else watermark, {"home": slot})
        for changed in step.posterior_deltas:
            decisions += float(changed.deltas.count_delta.sum())
            rewards += float(changed.deltas.reward_delta.sum())
        known = made <= at
        truth = counts[known].mean()
        estimate = rewards / decisions if decisions else 0.0
        found.append(abs(estimate - truth) / truth if truth else 0.0)
    hour = np.array(found[: round(HOUR / TICK)])
    return float(hour.mean()), found[-1], hour


def plot(path: Path, rows: list[dict[str, Any]]) -> None:
    """Draw the error over time, one panel per distribution of delays."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.fonttype"] = "none"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 2, figsize=(9, 6), sharex=True, sharey=True)
    for axis, name in zip(axes.flat, DELAYS, strict=True):
        for row in (row for row in rows if row["delay"] == name):
            minutes = TICK / 60 * np.arange(1, len(row["curve"]) + 1)
            error = 100 * np.minimum(row["curve"], 1.0)
            axis.plot(minutes[2::6], error[2::6], label=row["mode"])
        axis.set_title(name, fontsize=10)
        axis.set_yscale("log")
        axis.set_ylim(0.1, 110)
    for axis in axes[1]:
        axis.set_xlabel("minutes since the start (the rate doubles at 30)")
    for axis in axes[:, 0]:
        axis.set_ylabel("relative error, %")
    axes[0, 0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def history(
    mode: LearningMode, made: Floats, pays: NDArray[np.bool_], delay: Floats
) -> list[Event]:
    """Make the decisions and their rewards, those after the window included."""
    events = []
    for number, (at, paid, late) in enumerate(
        zip(made.tolist(), pays.tolist(), delay.tolist(), strict=True)
    ):
        key, time = number + 1, START + round(at * 1e6)
        common = {"subject": "s", "decision_id": f"d{number}", "slot_id": "home"}
        body = DecisionBack(
            **common,
            id="d",
            time=moment(time),
            key=f"{key:016x}",
            action_id="a",
            propensity=1.0,
            policy="beta",
            policy_version=1,
            expires_at=moment(time) + timedelta(seconds=WINDOW),
            learning_mode=mode,
        )
        events.append(Event(time, body, "s", key, Origin("decisions", 0, number, time)))
        if paid and at + late < HOUR + WINDOW:
            time += round(late * 1e6)
            reward = Reward(**common, id=f"r{number}", time=moment(time), value=1.0)
            events.append(Event(time, reward, "s", key, Origin("rewards", 0, number, time)))
    return events


if __name__ == "__main__":
    main()
