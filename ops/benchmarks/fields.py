"""What a record costs by the length of each of its fields: the exponent of growth, 1 for linear.

Records go through the steps of personalize, called by hand: reading, profiles, admission, scoring,
attribution. A figure is the least CPU time of several rounds, each on fresh state.
"""

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from flows.runtime.clock import system_clock
from operators.decide.admission import RequestAdmission, RequestGroup
from operators.decide.scoring import Scorer
from operators.decode import RecordReader, join_key, pseudonym_of, reader
from operators.envelope import Event
from operators.io.metrics.decisions import DecisionMetrics
from operators.logic.attribution import Attribution
from operators.logic.catalog import Catalog, CatalogedBatch, CatalogHistory
from operators.logic.subjects.profiles import Profiles
from operators.profile import ProfileLogic
from ops.benchmarks.speed.report import Bar, Report
from schemas.bounds import GREATEST_PURPOSE, MOST_CANDIDATES, MOST_PURPOSES
from schemas.catalog import Action, FeatureSpec, Slot
from schemas.clock import micros
from schemas.settings import load
from schemas.topics import Topic

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SETTINGS = load({}, secret="a secret of benchmarks", partitions=1)
VISITOR = "visitor-1"
PSEUDONYM = pseudonym_of(SETTINGS.secret.encode(), VISITOR)
LINEAR = 1.25
"""The greatest exponent that passes for linear: small costs that do not grow make it less."""

Records = Sequence[tuple[Topic, bytes]]


def record(
    topic: Topic, id_: str, after: float = 0.0, raw: str = "", **fields: Any
) -> tuple[Topic, bytes]:
    """Make a record of the visitor, ``after`` seconds; ``raw`` are fields of it as JSON text."""
    when = (NOW + timedelta(seconds=after)).isoformat()
    body = {"id": id_, "time": when, "subject": VISITOR, "slot_id": "home"} | fields
    return topic, (json.dumps(body)[:-1] + (f",{raw}" if raw else "") + "}").encode()


def request(raw: str = "", **fields: Any) -> Records:
    """Make one request."""
    return [record(Topic.DECISION_REQUESTS, "r-1", raw=raw, **fields)]


def decision(number: int, **fields: Any) -> tuple[Topic, bytes]:
    """Make a decision of the visitor, as it is read back."""
    id_ = f"d-{number}"
    made = {
        "subject": PSEUDONYM,
        "decision_id": id_,
        "key": f"{join_key(PSEUDONYM, id_):016x}",
        "action_id": "a-1",
        "propensity": 0.5,
        "policy": "beta",
        "policy_version": 0,
        "expires_at": (NOW + timedelta(seconds=600)).isoformat(),
    }
    return record(Topic.DECISIONS, f"decision-{number}", **(made | fields))


def clicks(count: int) -> list[tuple[Topic, bytes]]:
    """Make clicks on one decision."""
    return [record(Topic.CLICKS, f"c-{n}", 1.0, decision_id="d-0") for n in range(count)]


def withdrawals(count: int) -> list[tuple[Topic, bytes]]:
    """Make consents to nothing, each of a time of its own."""
    return [
        record(Topic.CONSENTS, f"w-{n}", 1.0 + n * 1e-3, type="consent", purposes=[])
        for n in range(count)
    ]


def names(count: int) -> list[str]:
    """Make ids of actions, most of which the catalog does not know."""
    return [f"a-{n}" for n in range(count)]


CASES: dict[str, tuple[int, Callable[[int], Records]]] = {
    "request: excluded": (40_000, lambda n: request(excluded=names(n))),
    "request: excluded, one id again and again": (40_000, lambda n: request(excluded=["a-1"] * n)),
    "request: actions": (MOST_CANDIDATES, lambda n: request(actions=names(n))),
    "request: actions, one id again and again": (
        MOST_CANDIDATES,
        lambda n: request(actions=["a-1"] * n),
    ),
    "request: actions and excluded": (
        MOST_CANDIDATES,
        lambda n: request(actions=names(n), excluded=names(n)[1:]),
    ),
    "request: context, fields": (20_000, lambda n: request(context={f"f{i}": i for i in range(n)})),
    "request: context, a list": (40_000, lambda n: request(context={"vector": [0.5] * n})),
    "request: context, a text": (900_000, lambda n: request(context={"hashed": "x" * n})),
    "request: context, digits": (
        900_000,
        lambda n: request('"context": {"age": ' + "9" * n + "}"),
    ),
    "request: context, numbers that overflow": (
        20_000,
        lambda n: request('"context": {"age": [' + ",".join(["1e400"] * n) + "]}"),
    ),
    "request: context, levels": (
        800,
        lambda n: request('"context": {"age": ' + "[" * n + "]" * n + "}"),
    ),
    "request: fields that nobody knows": (
        20_000,
        lambda n: request(",".join(f'"f{i}": {i}' for i in range(n))),
    ),
    "consent: purposes": (
        MOST_PURPOSES,
        lambda n: [
            record(
                Topic.CONSENTS,
                "c",
                type="consent",
                purposes=[GREATEST_PURPOSE - i for i in range(n)],
            )
        ],
    ),
    "withdrawals of one subject": (2_000, withdrawals),
    "decisions of one subject": (4_000, lambda n: [decision(i) for i in range(n)]),
    "decisions of one subject, withdrawn": (
        4_000,
        lambda n: [*(decision(i) for i in range(n)), *withdrawals(1)],
    ),
    "decision: features": (
        60_000,
        lambda n: [decision(0, features=("A" * 16) * (n // 4))],
    ),
    "clicks on one decision": (4_000, lambda n: [decision(0), *clicks(n)]),
    "clicks that wait for one decision": (4_000, clicks),
    "one click, again and again": (4_000, lambda n: [decision(0), *clicks(1) * n]),
}
"""By name, the greatest length that is tried, and the records of a length."""


class Steps:
    """The steps of one shard, on fresh state."""

    def __init__(self, read: RecordReader, catalog: Catalog) -> None:
        self._read = read
        self._catalog = catalog
        self._profiles = ProfileLogic(Profiles(1e6), interval=10**6)
        self._admission = RequestAdmission(horizon=10**12)
        self._scorer = Scorer(b"secret", system_clock, DecisionMetrics())
        self._attribution = Attribution(60 * 10**6, 10**6, 10**6)

    def read(self, records: Records) -> list[Event]:
        """Read the records, one topic after another."""
        by_topic: dict[Topic, list[bytes]] = defaultdict(list)
        for topic, payload in records:
            by_topic[topic].append(payload)
        events: list[Event] = []
        for topic, payloads in by_topic.items():
            count = len(payloads)
            times = [micros(NOW)] * count
            read, _ = self._read.many(topic, 0, [None] * count, payloads, range(count), times)
            events += read
        return events

    def take(self, events: Sequence[Event]) -> None:
        """Profile, admit and score the requests, attribute the others."""
        batch = CatalogedBatch(0, micros(NOW), events, catalog=self._catalog)
        self._profiles.on_batch([batch])
        groups, _ = self._admission.on_batch([batch])
        self._scorer.decide([("0", each) for each in groups if isinstance(each, RequestGroup)])
        self._attribution.step(events, micros(NOW), self._catalog.slots)


def example_catalog() -> Catalog:
    """Make a slot with features of every kind and a hundred actions."""
    features = FeatureSpec(numeric=["age"], vectors={"vector": 4}, hashed={"hashed": 8})
    history = CatalogHistory()
    history.add(Slot(id="s", time=NOW, slot_id="home", features=features))
    for name in names(100):
        history.add(Action(id=name, time=NOW, action_id=name, slots=["home"]))
    return history.as_of(micros(NOW))


def seconds(records: Records, rounds: int, catalog: Catalog) -> float:
    """Measure the least CPU time that the records take."""
    read = reader(SETTINGS)
    least = float("inf")
    for _ in range(rounds):
        steps = Steps(read, catalog)
        started = time.thread_time()
        steps.take(steps.read(records))
        least = min(least, time.thread_time() - started)
    return least


def growth(name: str, doublings: int, rounds: int) -> tuple[float, float]:
    """Measure the exponent by which a field's cost grows, and the seconds of its greatest length.

    It is the steepest growth over two doublings, so that what does not grow hides nothing.
    """
    most, make = CASES[name]
    catalog = example_catalog()
    lengths = [most >> halved for halved in range(doublings, -1, -1)]
    costs = [seconds(make(length), rounds, catalog) for length in lengths]
    steps = np.diff(np.log(costs)) / np.diff(np.log(lengths))
    return float(np.mean(steps[-2:])), costs[-1]


def main() -> None:
    """Measure, print one table and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--doublings", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="three rounds, three doublings")
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.doublings = 3, 3
    report = Report("fields", ("field", "longest", "ms", "exponent"), vars(args).copy())
    for name, (most, _) in CASES.items():
        exponent, longest = growth(name, args.doublings, args.rounds)
        report.rows.append((name, most, 1e3 * longest, exponent))
        report.bars.append(Bar(name, "≤", LINEAR, exponent, "exponent"))
    raise SystemExit(report.finish())


if __name__ == "__main__":
    main()
