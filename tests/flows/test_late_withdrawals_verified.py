"""Withdrawals that come after their decisions have settled do not make ``verify`` differ."""

from collections import Counter
from datetime import timedelta
from pathlib import Path

from flows.devkit.embedded import Server
from flows.devkit.verify_replay.simulated_log import START, simulated_log
from flows.verification.findings import describe, verdict
from flows.verification.log import Logged, sort_log
from flows.verification.reading import dead_letters_of
from operators.logic.murmur2 import partition_of
from schemas.codec import decode, encode
from schemas.events import Consent, DecisionRequest, Erasure
from schemas.topics import Topic
from tests.support.verified_run import play

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
    log = with_late_withdrawals(simulated_log(REQUESTS, RATE, partitions=2, seed=4))
    settings, run = play(
        "withdrawn", log, broker, valkey, tmp_path, kills=0, seed=0, speed=8.0, allowed_lateness=5
    )
    found = run.verification
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
