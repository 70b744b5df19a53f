"""Bytes that cross between workers for an event, and bytes of state: both as they are pickled.

The steps of personalize are called by hand in a closed loop, without segment files, so that a
snapshot is the whole state. The figures depend on the traffic only, not on the machine.
"""

import argparse
import pickle
from collections import Counter
from collections.abc import Iterable
from typing import Any

from operators.logic.policies.published import PublishedPolicy
from operators.updates import PosteriorUpdate
from ops.benchmarks.speed.loop import SEED, Loop
from ops.benchmarks.speed.report import Report
from schemas.results import PolicySnapshot

TURN = 500
"""Requests a turn: the batches of a backlog."""


def main() -> None:
    """Run the loop, print one table and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=120_000)
    parser.add_argument("--rate", type=float, default=4_000.0, help="per second of event time")
    parser.add_argument("--actions", type=int, default=10)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--quick", action="store_true", help="10,000 requests")
    args = parser.parse_args()
    if args.quick:
        args.requests = 10_000
    report = Report("sizes", ("what", "bytes per event", "bytes"), vars(args).copy())
    loop = Loop(args.rate, actions=args.actions, seed=args.seed)
    crossed: Counter[str] = Counter()
    posterior = _weigh_learning(loop, crossed)
    for _ in range(args.requests // TURN):
        made = loop.turn(TURN)
        crossed["decoded batches, if they had to cross"] += sum(map(_bytes, made.batches))
    report.rows += [(name, count / loop.events, None) for name, count in sorted(crossed.items())]
    report.rows.append(("a published posterior", None, posterior[-1]))
    report.rows += [(f"state: {name}", None, size) for name, size in _states(loop)]
    raise SystemExit(report.finish())


def _weigh_learning(loop: Loop, crossed: Counter[str]) -> list[int]:
    """Count what goes to the learner and comes from it; give the list of posteriors' sizes."""
    learn, posterior = loop._learn.on_batch, [0]

    def weighed(updates: list[PosteriorUpdate]) -> tuple[Iterable[Any], bool]:
        crossed["posterior updates"] += sum(map(_bytes, updates))
        crossed["posterior updates: settled decisions of it"] += sum(
            _bytes(each.settled) for each in updates
        )
        found, retain = learn(updates)
        found = list(found)
        for item in found:
            if isinstance(item, PublishedPolicy):
                posterior.append(_bytes(item))
                crossed["posteriors, to each shard"] += posterior[-1]
            elif isinstance(item, PolicySnapshot):
                crossed["policy snapshots"] += _bytes(item)
        return found, retain

    loop._learn.on_batch = weighed  # type: ignore[method-assign]
    return posterior


def _states(loop: Loop) -> list[tuple[str, int]]:
    """Give the whole state of the first shard, and of the learner."""
    return [
        ("attribution, of a shard", _bytes(loop._attribute[0].snapshot())),
        ("profiles and consents, of a shard", _bytes(loop._profile[0].snapshot())),
        ("requests seen, of a shard", _bytes(loop._admission[0].snapshot())),
        ("learner, of a slot", _bytes(loop._learn.snapshot())),
    ]


def _bytes(item: Any) -> int:
    return len(pickle.dumps(item, pickle.HIGHEST_PROTOCOL))


if __name__ == "__main__":
    main()
