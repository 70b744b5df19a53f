"""A million spoiled records to every topic, among good ones, with restarts: nothing may happen.

Both flows run as processes on the embedded broker. Visitors ask, see and click; beside them
records made from the schemas and spoiled (``tests/support/fuzz``) go to every topic, those that
applications write and our own. The flows are killed and started again between portions.
"""

import argparse
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from flows.devkit.demo_catalog import SLOT
from flows.devkit.embedded import BROKERS, NOIDA, Embedded, PartUnavailable
from flows.registry import PERSIST, PERSONALIZE
from flows.verification.findings import TOLERANCE, Verification, describe
from flows.verification.tables import compare_tables
from flows.verification.verify import verify
from operators.io.store.tables import DEAD_LETTERS
from ops.benchmarks.campaigns.fault_suite.bars import Finding
from ops.benchmarks.campaigns.fuzz_suite.final_topics import (
    FinalTopics,
    pending_elsewhere,
    scan,
    without_the_bad,
)
from ops.benchmarks.campaigns.fuzz_suite.poison import Poison, offsets_of
from ops.benchmarks.reporting.judged import report
from tests.support.stage import InVain, Stage, StagedFlow, until

WINDOW = 30.0
LATENESS = 30.0
PEAK, GROWTH = 1_500.0, 1.35
"""The most MB that a flow may take, and its last quarter's median in those of its second."""

REFUSED = 0.001
"""A row that a newer one of the same transaction replaces is not sent to the store, nor refused."""

LONG = 300
"""Samples of memory, one a second, from which on its growth is judged."""

MOST_DEATHS = 5
BACKLOG = 10_000
"""Records that a flow may be behind before more are written."""


@dataclass
class Watched:
    """A flow, its memory in MB over all its lives, and how often it ended by itself."""

    flow: StagedFlow
    name: str
    deaths: int = 0
    said: str = ""
    samples: list[float] = field(default_factory=list)
    lost: threading.Event = field(default_factory=threading.Event)
    """Set when it has died so often that there is no sense in starting it again."""

    def look(self) -> None:
        """Take a sample; a flow that ended by itself is counted and started again."""
        if self.flow.child.running:
            try:
                self.samples.append(self.flow.resident() / 1e6)
            except (OSError, IndexError):
                return
            return
        self.deaths += 1
        self.said = self.flow.log[-2000:]
        print(f"{self.name} died:\n{self.said}", file=sys.stderr, flush=True)
        if self.deaths >= MOST_DEATHS:
            self.lost.set()
        else:
            self.flow.restart()

    def growth(self) -> float:
        """Compute the ratio of the median memory of the last quarter to that of the second."""
        quarter = len(self.samples) // 4
        if quarter < 5:
            return 1.0
        early = statistics.median(self.samples[quarter : 2 * quarter])
        return statistics.median(self.samples[-quarter:]) / early


def main() -> int:
    """Run it, print one table and write it as JSON; give the number of bars that are missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--broker", choices=sorted(BROKERS), default=NOIDA.name)
    parser.add_argument("--records", type=int, default=1_000_000, help="spoiled ones")
    parser.add_argument("--kills", type=int, default=10, help="kill -9, of either flow in turn")
    parser.add_argument("--rate", type=float, default=50.0, help="good requests per second")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="two kills, in under a minute")
    options = parser.parse_args()
    if options.quick:
        options.records, options.kills = 6_000, 2
    finding = Finding("spoiled records", "each is a dead letter, and nothing else happens")
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        try:
            with Embedded(Path(folder), broker=options.broker) as parts:
                _run(
                    finding, Stage(parts, "fuzz", window=WINDOW, allowed_lateness=LATENESS), options
                )
        except PartUnavailable as why:
            sys.exit(f"no figures: a part cannot be had here: {why}")
        except InVain as why:
            finding.that("it came to an end", "yes", str(why), passed=False)
    seconds = time.monotonic() - started
    title = f"{options.records:,} spoiled records, {options.kills} kills, {seconds:.0f} s"
    return report("fuzz", title, finding.bars, options=vars(options), seconds=round(seconds))


def _run(finding: Finding, stage: Stage, options: argparse.Namespace) -> None:
    poison = Poison(stage.settings, options.seed)
    watched = [
        Watched(stage.run(flow.name, supervised=False), flow.name)
        for flow in (PERSONALIZE, PERSIST)
    ]
    looking = threading.Event()
    lock = threading.Lock()
    watcher = threading.Thread(target=_watch, args=(watched, looking, lock), daemon=True)
    try:
        with stage.visitors(options.rate) as visitors:
            until("the first decision", lambda: visitors.progress().decisions > 0)
            watcher.start()
            portions = options.kills + 1
            for portion in range(portions):
                _send(stage, poison, options.records // portions, watched)
                if portion < options.kills:
                    victim = watched[1 if portion % 3 == 2 else 0]
                    with lock:
                        victim.flow.kill()
                        victim.flow.restart()
                _say(poison, watched)
            asked = visitors.progress().requests
            until("more answers", lambda: visitors.progress().requests > asked + options.rate)
        seconds = 120.0 + options.records / 1000
        waited = stage.settle(PERSONALIZE.name, seconds=seconds)
        time.sleep(stage.settings.state.epoch)  # what steps held back is in the next epoch
        waited += stage.settle(PERSONALIZE.name, seconds=seconds)
        looking.set()
        watcher.join()
        watched[0].flow.stop()
        waited += stage.settle(PERSIST.name, seconds=seconds)
        watched[1].flow.stop()
        _judge_topics(finding, stage, poison)
    finally:
        looking.set()
        poison.close()
        _judge_flows(finding, watched)
        stage.close()


def _send(stage: Stage, poison: Poison, count: int, watched: list[Watched]) -> None:
    """Write records, and wait where the flows are far behind."""
    while count > 0:
        step = min(count, BACKLOG)
        poison.send(step)
        count -= step
        until("the backlog", lambda: _lives(watched) and _keeps_up(stage), 600.0)


def _lives(watched: list[Watched]) -> bool:
    for each in watched:
        if each.lost.is_set():
            raise InVain(f"{each.name} died {each.deaths} times")
    return True


def _keeps_up(stage: Stage) -> bool:
    return stage.lag(PERSONALIZE.name) < BACKLOG


def _watch(watched: list[Watched], done: threading.Event, lock: threading.Lock) -> None:
    while not done.wait(1.0):
        with lock:
            for each in watched:
                each.look()


def _say(poison: Poison, watched: list[Watched]) -> None:
    memory = ", ".join(f"{each.name} {each.samples[-1]:.0f} MB" for each in watched if each.samples)
    print(f"fuzz: {poison.sent:,} sent, {memory}", file=sys.stderr, flush=True)


def _judge_flows(finding: Finding, watched: list[Watched]) -> None:
    for each in watched:
        finding.exactly(f"{each.name}: deaths beside the kills", 0, each.deaths)
        peak, growth = max(each.samples, default=0.0), each.growth()
        finding.that(
            f"{each.name}: memory, its peak and its growth",
            f"at most {PEAK:.0f} MB, x {GROWTH:g}",
            f"{peak:.0f} MB, x {growth:.2f}",
            peak <= PEAK and (growth <= GROWTH or len(each.samples) < LONG),
        )


def _judge_topics(finding: Finding, stage: Stage, poison: Poison) -> None:
    spoiled = offsets_of(poison.written)
    topics = scan(stage.settings, spoiled)
    _judge_answers(finding, topics, poison)
    copy = without_the_bad(stage.settings, stage.folder / "good", spoiled, topics.bad)
    verified = verify(copy)
    verified.pending.different -= pending_elsewhere(copy)
    verified.actions = [check for check in verified.actions if check.slot_id == SLOT]
    verified.largest_difference = max((each.difference for each in verified.actions), default=0.0)
    _judge_learned(finding, verified)
    tables, behind = compare_tables(stage.settings)
    kept = [table for table in tables if table.table != DEAD_LETTERS.name]
    rows, different = sum(table.rows for table in kept), sum(table.different for table in kept)
    finding.that(
        "store rows that differ from what the topics say",
        "0, nothing behind",
        f"{different:,} of {rows:,}, {behind:,} behind",
        rows > 0 and not different and not behind,
    )
    (letters,) = [table for table in tables if table.table == DEAD_LETTERS.name]
    finding.that(
        "dead letters in the store: as many as the topics say, but for rows that it refuses",
        f"within {REFUSED:.1%}",
        f"{letters.different:,} of {letters.rows:,}",
        letters.different <= REFUSED * letters.rows,
    )


def _judge_answers(finding: Finding, topics: FinalTopics, poison: Poison) -> None:
    finding.exactly(
        "good requests by the number of their answers",
        {1: topics.good_requests},
        dict(topics.answered),
    )
    finding.exactly("records with two dead letters", 0, topics.twice)
    finding.exactly("processing_error among them", 0, topics.reasons["processing_error"])
    finding.exactly("good records that were refused", {}, dict(topics.good_refused))
    finding.that(
        "spoiled records written; dead letters",
        "each reason that there is",
        f"{topics.spoiled:,} ({poison.refused:,} not taken); {len(topics.bad):,} of "
        f"{len(topics.reasons)} reasons",
        len(topics.bad) > topics.spoiled / 5 and len(topics.reasons) >= 12,
    )


def _judge_learned(finding: Finding, verified: Verification) -> None:
    print("\n".join(describe(verified)), file=sys.stderr, flush=True)
    actions = verified.actions
    agreeing = sum(check.agrees for check in actions)
    finding.that(
        "actions whose statistics agree; largest difference",
        f"all, counts exactly; {TOLERANCE:g}",
        f"{agreeing} of {len(actions)}; {verified.largest_difference:.1e}",
        0 < len(actions) == agreeing,
    )
    pending, outcomes = verified.pending, verified.outcomes
    wrong = pending.different + outcomes.missing + outcomes.different
    finding.that(
        "pending decisions and outcomes that differ",
        "0",
        f"{wrong:,} of {pending.decisions + outcomes.settled + outcomes.void:,}",
        wrong == 0 and pending.decisions + outcomes.settled > 0,
    )
    finding.that(
        "requests unanswered, with two different answers",
        "0, 0",
        f"{verified.unanswered:,}, {verified.contradicted:,} of {verified.requests:,}",
        not verified.unanswered and not verified.contradicted,
    )


if __name__ == "__main__":
    raise SystemExit(main())
