"""Measure what reads and writes records: typed msgspec against orjson and checks by hand.

Prints CPU per record and ratios, and writes them under ``ops/benchmarks/results/``.
"""

import argparse
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import orjson

from ops.benchmarks.reporting.judged import write_result
from ops.benchmarks.reporting.machine import machine_line
from schemas.events import Click, Decision, DecisionBack, DecisionRequest, Ranked

NOW = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)

CLICK = msgspec.json.encode(
    Click(id="click-1", time=NOW, subject="visitor-1", decision_id="d-1", slot_id="home")
)
REQUEST = msgspec.json.encode(
    DecisionRequest(
        id="r-1",
        time=NOW,
        subject="visitor-1",
        slot_id="home",
        context={"o": [0.1, -1.2, 0.4, 2.0], "device": "d1", "geo": "g3", "segment": "s5"},
    )
)
DECISION = Decision(
    id="decision-1",
    time=NOW,
    subject="0123456789abcdef0123456789abcdef",
    decision_id="d-1",
    key="0123456789abcdef",
    slot_id="home",
    action_id="a-1",
    ranking=[Ranked(f"action-{place}", 1.0 / (place + 3.3)) for place in range(20)],
    propensity=0.123456789,
    policy="logistic",
    policy_version=17,
    expires_at=NOW + timedelta(minutes=10),
    features="A" * 172,
)
ENCODED = msgspec.json.encode(DECISION)


def checked_click(payload: bytes) -> dict[str, Any]:
    """Read a click with orjson and check what the typed decoder checks."""
    record: dict[str, Any] = orjson.loads(payload)
    for name in ("id", "subject", "decision_id", "slot_id"):
        value = record[name]
        if not isinstance(value, str) or not 1 <= len(value) <= 256:
            raise ValueError(name)
    position = record.get("position")
    if position is not None and not isinstance(position, int):
        raise ValueError("position")
    record["time"] = datetime.fromisoformat(record["time"])
    if record["time"].tzinfo is None:
        raise ValueError("time")
    return record


def checked_request(payload: bytes) -> dict[str, Any]:
    """Read a decision request with orjson and check it."""
    record: dict[str, Any] = orjson.loads(payload)
    for name in ("id", "subject", "slot_id"):
        value = record[name]
        if not isinstance(value, str) or not 1 <= len(value) <= 256:
            raise ValueError(name)
    if not isinstance(record.get("context", {}), dict):
        raise ValueError("context")
    for name in ("actions", "excluded"):
        listed = record.get(name) or []
        if not all(isinstance(item, str) for item in listed):
            raise ValueError(name)
    record["time"] = datetime.fromisoformat(record["time"])
    if record["time"].tzinfo is None:
        raise ValueError("time")
    return record


def cost(work: Callable[[], object], seconds: float) -> float:
    """Give CPU microseconds per call: the best of five rounds."""
    rounds = []
    for _ in range(5):
        calls, start = 0, time.process_time()
        while time.process_time() - start < seconds / 5:
            for _ in range(500):
                work()
            calls += 500
        rounds.append((time.process_time() - start) / calls * 1e6)
    return min(rounds)


def main() -> None:
    """Measure and print one table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=float, default=3.0, help="per figure")
    arguments.add_argument("--quick", action="store_true", help="half a second per figure")
    options = arguments.parse_args()
    seconds = 0.5 if options.quick else options.seconds
    click, request = msgspec.json.Decoder(Click), msgspec.json.Decoder(DecisionRequest)
    back = msgspec.json.Decoder(DecisionBack)
    encoder = msgspec.json.Encoder()
    plain = msgspec.to_builtins(DECISION, builtin_types=(datetime,))
    pairs: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "read a click": (lambda: click.decode(CLICK), lambda: checked_click(CLICK)),
        "read a request": (lambda: request.decode(REQUEST), lambda: checked_request(REQUEST)),
        "read back a decision": (lambda: back.decode(ENCODED), lambda: orjson.loads(ENCODED)),
        "write a decision": (lambda: encoder.encode(DECISION), lambda: orjson.dumps(plain)),
    }
    rows = {}
    print(f"{'CPU per record':<22}{'msgspec':>10}{'orjson':>10}{'ratio':>8}")
    for name, (ours, theirs) in pairs.items():
        first, second = cost(ours, seconds), cost(theirs, seconds)
        rows[name] = {"msgspec_us": first, "orjson_us": second, "ratio": second / first}
        print(f"{name:<22}{first:>7.2f} µs{second:>7.2f} µs{second / first:>7.2f}x")
    print(machine_line())
    write_result("codec", rows=rows)


if __name__ == "__main__":
    main()
