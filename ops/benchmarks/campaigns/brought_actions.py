"""Prove that actions which every request brings anew leave nothing behind but what they taught.

Both flows run as processes on the embedded broker. Every request of a slot with the policy
``shared`` brings candidates that no other has, each with strings that no other has; records come
late and twice, and one of the flows is killed again and again. Then everything is recomputed from
the topics, as ``banditflow verify`` does. Resident memory is read all along: the most of the second
half of the log is compared with the most of the first.
"""

import argparse
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from flows.devkit.embedded import Embedded, Supervisor
from flows.devkit.verify_replay.runs import VICTIMS, Run, prepare, run_killed
from flows.devkit.verify_replay.simulated_log import SLOTS, simulated_log
from flows.personalize import Steps
from flows.registry import PERSIST, PERSONALIZE
from flows.runtime.snapshots import states_of
from flows.verification.log import Logged
from flows.verification.shared_columns import EVERY_ACTION
from operators.learner_state import unpack_learner
from operators.logic.policies import load_policy
from operators.logic.policies.shared import Shared
from operators.logic.request_actions import MOST_REQUEST_ACTIONS
from ops.benchmarks.campaigns.store_away import resident
from ops.benchmarks.reporting.judged import JudgedBar, report
from schemas.catalog import AutoFeatures, FeatureSpec, PolicySettings, Slot
from schemas.codec import decode, encode
from schemas.events import DecisionRequest
from schemas.settings import Settings, load
from schemas.topics import Topic

CANDIDATES = STRINGS = 10
"""New actions of each request, and new strings in the features of each."""

SLOT = "side"
PARTITIONS = 2
GROWTH = 64.0
"""The most MB by which a flow may have grown when as many new actions have come again."""

_SAMPLES = 200


def main() -> None:
    """Run the proof, print one table and write it as JSON; fail when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000, help="of ten new actions each")
    parser.add_argument("--rate", type=float, default=250.0, help="requests per second (250)")
    parser.add_argument("--kills", type=int, default=5, help="of either flow (5)")
    parser.add_argument("--seed", type=int, default=10)
    parser.add_argument("--quick", action="store_true", help="1,000 requests, two kills")
    options = parser.parse_args()
    if options.quick:
        options.requests, options.kills = 1_000, 2
    bars = new_actions(options.requests, options.rate, options.kills, options.seed)
    sys.exit(1 if report("brought_actions", "New actions with every request", bars) else 0)


def new_actions(requests: int, rate: float, kills: int, seed: int) -> list[JudgedBar]:
    """Play a log of new actions under kills, verify it, and judge what is kept."""
    log = log_of(requests, rate, seed)
    with tempfile.TemporaryDirectory() as folder, Embedded(Path(folder)) as parts:
        settings = load(
            {},
            secret="only for campaigns",
            bootstrap_servers=parts.bootstrap_servers,
            redis_url=parts.redis_url,
            store=f"sqlite:{parts.folder / 'banditflow.db'}",
            recovery=str(parts.folder / "recovery"),
            partitions=PARTITIONS,
            allowed_lateness=60.0,
            epoch=1,
            metrics_port=0,
        )
        prepare(settings)
        memory = Memory(parts.supervisor, len(log))
        run = run_killed(
            settings,
            parts.supervisor,
            log,
            kills=kills,
            seed=seed,
            speed=1.0,
            verify_kills=False,
            on_progress=memory.note,
        )
        return [
            JudgedBar("different actions", "-", f"{requests * CANDIDATES:,}", None),
            JudgedBar(
                "different strings in their features",
                "-",
                f"{requests * CANDIDATES * STRINGS:,}",
                None,
            ),
            *_exactness(run, kills),
            *_what_is_kept(settings),
            *memory.bars(judged=requests >= 10_000),
        ]


def log_of(requests: int, rate: float, seed: int) -> list[Logged]:
    """Make a log of one slot whose requests bring new actions."""
    log = []
    for each in simulated_log(requests, rate, PARTITIONS, seed):
        value = each.value
        if each.topic is not Topic.CATALOG:
            for name in SLOTS:
                value = value.replace(b'"slot_id":"%b"' % name.encode(), b'"slot_id":"side"')
        body = decode(each.topic, value)
        if isinstance(body, Slot) and body.slot_id == SLOT:
            value = encode(msgspec.structs.replace(body, **SHARED))
        elif isinstance(body, DecisionRequest) and body.id[0] == "r":
            value = msgspec.json.encode(msgspec.json.decode(value) | {"actions": _brought(body)})
        log.append(msgspec.structs.replace(each, value=value))
    return log


SHARED: dict[str, Any] = {
    "policy": PolicySettings(kind="shared"),
    "features": FeatureSpec(auto=AutoFeatures()),
    "candidates": "request",
}
"""What the slot is, with all its defaults."""


def _brought(request: DecisionRequest) -> list[dict[str, Any]]:
    """Give what a request brings: the same again where it comes twice."""
    return [
        {
            "id": f"{request.id}-{place}",
            "features": {f"f{n}": f"string {request.id}/{place}/{n}" for n in range(STRINGS)},
        }
        for place in range(CANDIDATES)
    ]


@dataclass
class Memory:
    """The most resident memory of each flow, in MB, in the halves of a log of ``size`` records."""

    supervisor: Supervisor
    size: int
    most: dict[str, list[float]] = field(default_factory=lambda: defaultdict(lambda: [0.0, 0.0]))

    def note(self, done: int, what: str) -> None:
        """Read the flows' memory now and then."""
        if what or done % max(self.size // _SAMPLES, 1):
            return
        half = int(2 * done > self.size)
        for child in self.supervisor.children:
            for flow in VICTIMS:
                if child.name.endswith(flow):
                    most = self.most[flow]
                    most[half] = max(most[half], resident(child))

    def bars(self, *, judged: bool) -> list[JudgedBar]:
        """Compare the halves."""
        return [
            JudgedBar(
                f"most memory of {flow} in the second half of the log",
                f"at most {GROWTH:g} MB more than in the first",
                f"{after - before:+.0f} MB ({before:.0f} before)",
                0.0 < after <= before + GROWTH if judged else None,
            )
            for flow, (before, after) in self.most.items()
        ]


def _exactness(run: Run, kills: int) -> Sequence[JudgedBar]:
    found = run.verification
    learned = sum(
        check.recomputed[0]
        for check in found.actions
        if (check.slot_id, check.action_id) == (SLOT, EVERY_ACTION)
    )
    killed = {flow: sum(kill.flow == flow for kill in run.kills) for flow in VICTIMS}
    words = f"{killed[PERSONALIZE.name]} of personalize, {killed[PERSIST.name]} of persist"
    return [
        JudgedBar("kill -9", f"{kills}", words, len(run.kills) == kills),
        JudgedBar(
            f"what verify finds among {found.decisions:,} decisions",
            "holds",
            "holds" if found.holds else "DIFFERS",
            found.holds and found.decisions > 0,
        ),
        JudgedBar(
            f"largest relative difference of statistics, of {learned:,.0f} decisions",
            "at most 1e-9",
            f"{found.largest_difference:.1e}",
            learned > 0 and found.largest_difference <= 1e-9,
        ),
    ]


def _what_is_kept(settings: Settings) -> Sequence[JudgedBar]:
    snapshot = states_of(settings, PERSONALIZE)[Steps.LEARNERS][SLOT]
    learner = unpack_learner(snapshot)
    policy = load_policy(learner.policy)
    assert isinstance(policy, Shared)
    known, own = len(learner.retired), len(policy.intercepts.ids)
    return [
        JudgedBar(
            "actions that the learner remembers",
            f"at most {MOST_REQUEST_ACTIONS:,}",
            f"{known:,}",
            0 < known <= MOST_REQUEST_ACTIONS,
        ),
        JudgedBar(
            "actions with an intercept of their own",
            f"at most {MOST_REQUEST_ACTIONS:,}",
            f"{own:,}",
            own <= MOST_REQUEST_ACTIONS,
        ),
        JudgedBar("the learner's snapshot", "-", f"{len(snapshot) / 1e6:.0f} MB", None),
    ]


if __name__ == "__main__":
    main()
