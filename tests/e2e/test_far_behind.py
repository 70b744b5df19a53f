"""A flow that was away for ten minutes: what it decides then comes back in time to count."""

import time
from collections import Counter
from pathlib import Path

from flows.devkit.demo_catalog import SLOT
from flows.devkit.embedded import Server, Supervisor
from flows.devkit.visitors import Visitors
from flows.registry import PERSONALIZE
from flows.verification.reading import dead_letters_of
from flows.verification.verify import verify
from schemas.clock import moment
from schemas.codec import encode
from schemas.events import DecisionRequest
from schemas.topics import Topic
from tests.support.stage import SEED, Stage, until

REQUESTS, FIRST, AWAY = 1_000, 40, 600.0


class Parts:
    """The services of the tests, as a stage takes them."""

    def __init__(
        self, folder: Path, supervisor: Supervisor, broker: Server, valkey: Server
    ) -> None:
        self.folder, self.supervisor = folder, supervisor
        self.bootstrap_servers = broker.address
        self.redis_url = f"redis://{valkey.address}/0"


def decided(stage: Stage) -> int:
    """The number of decisions on their topic."""
    return sum(stage.ends(Topic.DECISIONS).values())


def test_decisions_of_a_low_rate_made_far_behind_are_not_late(
    broker: Server, valkey: Server, tmp_path: Path
) -> None:
    """All that came meanwhile fits into one batch; the allowed lateness is 20 seconds."""
    now = time.time()
    context = Visitors(SEED).context(0, 0)
    requests = [
        DecisionRequest(
            id=f"away-{number}",
            time=moment(round((now - AWAY * (1.0 - number / REQUESTS)) * 1e6)),
            subject=f"visitor-{number % 50}",
            slot_id=SLOT,
            context=context,
        )
        for number in range(REQUESTS)
    ]
    records = [
        (Topic.DECISION_REQUESTS, each.subject.encode(), encode(each), -1) for each in requests
    ]
    with Supervisor(tmp_path / "logs") as supervisor:
        parts = Parts(tmp_path, supervisor, broker, valkey)
        stage = Stage(parts, f"away-{int(now)}", allowed_lateness=20.0, dedup_horizon=2 * AWAY)
        flow = stage.run(PERSONALIZE.name, supervised=False)
        stage.produce(records[:FIRST])
        until("the first decisions", lambda: decided(stage) == FIRST)
        stage.settle(PERSONALIZE.name)
        flow.kill()
        stage.produce(records[FIRST:])
        flow.restart()
        stage.settle(PERSONALIZE.name)
        assert decided(stage) == REQUESTS
        stage.close()
        reasons = Counter(
            reason
            for shard in range(stage.settings.kafka.partitions)
            for reason in dead_letters_of(stage.settings, shard).reasons.values()
        )
        assert not reasons
        assert verify(stage.settings).holds
