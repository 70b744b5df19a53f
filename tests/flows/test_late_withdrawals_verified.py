"""Withdrawals that come after their decisions have settled do not make ``verify`` differ."""

from collections import Counter
from datetime import timedelta
from pathlib import Path

from flows.devkit.embedded import Server, Supervisor
from flows.devkit.verify_replay.runs import prepare, run_killed
from flows.devkit.verify_replay.simulated_log import START, simulated_log
from flows.verification.findings import describe, verdict
from flows.verification.log import Logged, sort_log
from flows.verification.reading import dead_letters_of
from operators.logic.murmur2 import partition_of
from schemas.codec import decode, encode
from schemas.events import Consent, DecisionRequest, Erasure
from schemas.settings import load
from schemas.topics import Topic
from tests.support.parts import prefix_for

REQUESTS, RATE = 600, 10.0
WITHDRAWN, ARRIVES = 8, START + timedelta(seconds=50)
"""So many visitors withdraw within the windows of their first decisions, and are heard of then."""


def with_late_withdrawals(log: list[Logged]) -> list[Logged]:
    """The log, and what some of its first visitors withdraw, long after the windows have closed."""
    requests = [
        request
        for each in log
        if each.topic is Topic.DECISION_REQUESTS
        and isinstance(request := decode(each.topic, each.value), DecisionRequest)
    ]
    late = []
    for number, request in enumerate(requests[:WITHDRAWN]):
        given = {
            "id": f"late-{number}",
            "time": request.time + timedelta(seconds=2),
            "subject": request.subject,
        }
        record = Erasure(**given) if number % 2 else Consent(purposes=[], **given)
        key = request.subject.encode()
        at = round(ARRIVES.timestamp() * 1000)
        late.append(Logged(at, Topic.CONSENTS, partition_of(key, 2), key, encode(record)))
    return sort_log([*log, *late])


def test_withdrawals_after_the_settlement_are_dead_letters_that_verify_knows(
    broker: Server, valkey: Server, tmp_path: Path
) -> None:
    settings = load(
        {},
        secret="a secret of the tests",
        bootstrap_servers=broker.address,
        redis_url=f"redis://{valkey.address}/0",
        topic_prefix=prefix_for("withdrawn"),
        recovery=str(tmp_path / "recovery"),
        store=f"sqlite:{tmp_path / 'store.db'}",
        partitions=2,
        metrics_port=0,
        epoch=1,
        allowed_lateness=5,
    )
    prepare(settings)
    log = with_late_withdrawals(simulated_log(REQUESTS, RATE, partitions=2, seed=4))
    with Supervisor(tmp_path / "logs") as supervisor:
        found = run_killed(
            settings,
            supervisor,
            log,
            kills=0,
            seed=0,
            speed=8.0,
            verify_kills=False,
            on_progress=lambda done, what: None,
        ).verification
    letters = Counter(
        reason
        for shard in range(settings.kafka.partitions)
        for reason in dead_letters_of(settings, shard).reasons.values()
    )
    assert letters["late_withdrawal"] == WITHDRAWN
    assert found.holds, describe(found)
    assert found.excluded["late_withdrawal"] == WITHDRAWN
    assert any(f"{WITHDRAWN} late_withdrawal" in line for line in describe(found))
    assert verdict(found) == "holds, for what was compared"
