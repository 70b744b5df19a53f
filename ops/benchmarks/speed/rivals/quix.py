"""The same logic in Quix Streams: a stateful join per visitor, River, decisions to a topic.

usage: quix.py JSON   (bootstrap, topics, out, folder, records), in an environment of its own with
quixstreams and river. No Redis and no SQL; the last checkpoint is not in the figures. Prints one
JSON line as the naive loop does.
"""

import json
import resource
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from quixstreams import Application, State

sys.path.insert(0, str(Path(__file__).parent))
from bandit import Learner


class Logic:
    """Joins by the visitor's state, as Quix's users do; the policy is the process's."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.learner = Learner(config["actions"], config["window"])
        self.left = config["records"]
        self.events = 0
        self.started = self.before = 0.0
        self.seconds = self.cpu = 0.0

    def __call__(self, record: dict[str, Any], state: State) -> dict[str, Any] | None:
        """Decide a request; take in anything else."""
        if not self.started:
            self.started, self.before = time.monotonic(), cpu()
        self.left -= 1
        if not self.left:
            self.seconds, self.cpu = time.monotonic() - self.started, cpu() - self.before
        decision_id = record.get("decision_id")
        if decision_id is None:
            return None
        self.events += 1
        if "context" in record:
            action = self.learner.decide(decision_id, record["context"])
            state.set(decision_id, action)
            return {
                "decision_id": decision_id,
                "subject": record["subject"],
                "slot_id": record["slot_id"],
                "action_id": action,
                "time": record["time"],
            }
        known = state.get(decision_id) is not None
        if "action_id" in record:
            if known:
                at = datetime.fromisoformat(record["time"]).timestamp()
                self.learner.seen(decision_id, at)
        elif known:
            self.learner.clicked(decision_id)
            state.delete(decision_id)
        return None


def cpu() -> float:
    """Give this process's CPU seconds, user and system."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Run until all records were taken in."""
    config = json.loads(sys.argv[1])
    app = Application(
        broker_address=config["bootstrap"],
        consumer_group=config["out"],
        auto_offset_reset="earliest",
        state_dir=config["folder"],
        loglevel="WARNING",
    )
    logic = Logic(config)
    frame = app.dataframe(app.topic(config["topics"][0], value_deserializer="json"))
    frame = frame.apply(logic, stateful=True).filter(lambda decision: decision is not None)
    frame.to_topic(app.topic(config["out"], value_serializer="json"))
    app.run(count=config["records"], timeout=20.0)
    found = {
        "events": logic.events,
        "cpu": logic.cpu,
        "seconds": logic.seconds,
        "sql_cpu": 0.0,
        "rewards": logic.learner.rewards,
        "lost": logic.learner.lost,
        "learned": logic.learner.learned,
    }
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
