"""Days of event time with everything changing: memory and snapshots level off.

The real personalize flow runs on sources in memory and a recovery store on disk, and is resumed
several times. Every minute of event time brings new visitors, consents, withdrawals and erasures,
new actions while older ones are deleted, other rules of a slot (so that all decisions are of new
classes), now and then new slots, other features and another learning mode. Measured every hour:
resident memory, the snapshots of each step with their segment files, series of metrics, and how
much of what was published is still kept. Over the last half nothing may grow: a straight line is
fitted to each, and what it rises in that half is compared with the mean.

Steady traffic on a broker, in live time, is ``make bench NAME=soak``.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import run_main
from prometheus_client import CollectorRegistry

from flows.personalize import Sinks, Sources, build
from flows.registry import PERSONALIZE
from flows.runtime.clock import system_clock
from flows.runtime.recovery import recovery_folder
from operators.decode import reader
from operators.io.metrics.root import Metrics
from ops.benchmarks.campaigns.soak_suite.endpoints import CountingSink, Edits, OutcomesSink, Turns
from ops.benchmarks.campaigns.soak_suite.measures import HOUR, Gauge, Sample
from ops.benchmarks.campaigns.soak_suite.world import World
from ops.benchmarks.reporting.judged import JudgedBar, report
from ops.benchmarks.reporting.machine import RESULTS
from schemas.settings import load

GROWTH = 5.0
"""The most that anything may rise over the last half, in per cent of its mean there."""

SMALL = 65_536
"""Bytes that a step may rise by, whatever that is in per cent: what a segment writes again."""

LABELS = 60
"""Slots, and actions of a slot, with labels of their own: so few that they are used up in a day."""


def main() -> None:
    """Run the days, print the bars, write JSON and the plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=int, default=72, help="of event time")
    parser.add_argument("--visitors", type=int, default=12, help="new ones a minute")
    parser.add_argument("--actions", type=int, default=2, help="new ones a minute")
    parser.add_argument("--resumes", type=int, default=5)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="two hours: nothing is judged")
    args = parser.parse_args()
    if args.quick:
        args.hours, args.resumes = 2, 2
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        sys.exit(_judge(args, Path(folder)))


@dataclass
class Soak:
    """What a run of the days measured and counted."""

    samples: list[Sample]
    counts: dict[str, int]
    asked: int
    published: int


def soak(folder: Path, *, turns: int, visitors: int, actions: int, resumes: int, seed: int) -> Soak:
    """Run so many minutes of event time, with a recovery store in ``folder``."""
    settings = load(
        {},
        secret="sixteen letters!",
        partitions=2,
        recovery=str(folder),
        allowed_lateness=120.0,
        dedup_horizon=3600.0,
        profile_ttl=6 * 3600.0,
        factor_subjects=1_000,
        gather=0.0,
    )
    registry = CollectorRegistry()
    gauge, metrics = Gauge(settings, registry), Metrics(registry, LABELS)
    started = time.monotonic()

    def observe(turn: int) -> None:
        if turn and turn % HOUR == 0:
            time.sleep(1.2)  # an epoch closes, so that the store holds this hour
            gauge.measure(world)
            said = f"{gauge.samples[-1].resident / 1e6:.0f} MB, {time.monotonic() - started:.0f} s"
            print(f"hour {turn // HOUR}: {said}", file=sys.stderr, flush=True)

    world = World(
        reads=lambda: reader(settings),
        shards=2,
        visitors=visitors,
        actions=actions,
        seed=seed,
        observe=observe,
    )
    sinks = {name: CountingSink() for name in Sinks.__annotations__}
    sinks |= {"decisions": CountingSink(world), "outcomes": OutcomesSink()}
    store = recovery_folder(settings, PERSONALIZE.name)
    store.mkdir(parents=True)
    init_db_dir(store, 1)
    for run in range(resumes + 1):
        world.until = turns * (run + 1) // (resumes + 1)
        sources = Sources(Turns(world), Edits(world))
        run_main(
            build(sources, Sinks(**sinks), settings, system_clock, metrics),
            epoch_interval=timedelta(seconds=1),
            recovery_config=RecoveryConfig(str(store), backup_interval=timedelta(0)),
        )
    counts = {name: sink.counts.total() for name, sink in sinks.items()}
    return Soak(gauge.samples, counts, world.asked_ever, world.published)


def _judge(args: argparse.Namespace, folder: Path) -> int:
    started = time.monotonic()
    done = soak(
        folder,
        turns=args.hours * HOUR + 1,
        visitors=args.visitors,
        actions=args.actions,
        resumes=args.resumes,
        seed=args.seed,
    )
    bars = _bars(done.samples, judged=not args.quick)
    answers = done.counts["decisions"]
    figure = f"{answers:,} of {done.asked:,}"
    bars.append(JudgedBar("requests answered, once each", "all", figure, answers == done.asked))
    if not args.quick:
        RESULTS.mkdir(parents=True, exist_ok=True)
        plot(RESULTS / "soak.svg", done.samples)
    return report(
        "campaign-soak",
        f"{args.hours} hours of event time in {time.monotonic() - started:.0f} s, "
        f"{done.published:,} catalog records, {args.resumes} resumes",
        bars,
        conditions=vars(args),
        counts=done.counts,
        samples=[asdict(sample) for sample in done.samples],
    )


def _bars(samples: list[Sample], *, judged: bool) -> list[JudgedBar]:
    hours = [sample.hour for sample in samples]
    series: dict[str, list[float]] = {
        "resident memory, MB": [sample.resident / 1e6 for sample in samples],
        "all snapshots, MB": [sum(sample.sizes.values()) / 1e6 for sample in samples],
        "series of metrics": [sample.series for sample in samples],
    }
    for name in sorted({name for sample in samples for name in sample.sizes}):
        series[f"{name}, kB"] = [sample.sizes.get(name, 0) / 1e3 for sample in samples]
    bars = []
    for name, values in series.items():
        rise, mean = growth(hours, values)
        small = name.endswith("kB") and rise / 100.0 * mean * 1e3 <= SMALL
        bars.append(
            JudgedBar(
                name=name,
                limit=f"rises ≤ {GROWTH:g} % in the last half"
                + (f", or {SMALL // 1024} KiB" if name.endswith("kB") else ""),
                figure=f"{rise:+.1f} % of {mean:,.1f}",
                passed=(rise <= GROWTH or small) if judged else None,
            )
        )
    return bars


def growth(hours: list[float], values: list[float]) -> tuple[float, float]:
    """Compute what a fitted line rises over the last half, in per cent of the mean there, and that.

    >>> growth([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1.0, 9.0, 9.0, 10.0, 10.0, 10.0])
    (0.0, 10.0)
    """
    half = len(values) // 2
    x, y = np.array(hours[half:]), np.array(values[half:])
    mean = float(y.mean())
    if len(x) < 2 or not mean:
        return 0.0, mean
    slope = float(np.polyfit(x, y, 1)[0])
    return round(100.0 * slope * float(x[-1] - x[0]) / mean, 6) + 0.0, mean


def plot(path: Path, samples: list[Sample]) -> None:
    """Draw memory, snapshots by step, and catalog records, over the hours."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.fonttype"] = "none"
    from matplotlib import pyplot

    figure, (memory, sizes, published) = pyplot.subplots(1, 3, figsize=(12, 3.6))
    hours = [sample.hour for sample in samples]
    memory.plot(hours, [sample.resident / 1e6 for sample in samples])
    memory.set_ylabel("resident memory, MB")
    largest = Counter({n: max(s.sizes.get(n, 0) for s in samples) for n in samples[-1].sizes})
    for name, _ in largest.most_common(6):
        sizes.plot(hours, [sample.sizes.get(name, 0) / 1e6 for sample in samples], label=name)
    sizes.set_ylabel("snapshots and segments, MB")
    sizes.legend(fontsize=7)
    published.plot(hours, [sample.published for sample in samples], label="catalog records read")
    published.plot(hours, [sample.series for sample in samples], label="series of metrics")
    published.legend(fontsize=7)
    for axis in (memory, sizes, published):
        axis.set_xlabel("hours of event time")
        axis.set_ylim(bottom=0)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


if __name__ == "__main__":
    main()
