import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import confluent_kafka
import pytest
from bytewax.errors import BytewaxRuntimeError

from flows.devkit.embedded import Server
from operators.io.kafka import KafkaTrouble, create_topics
from operators.io.kafka.sink import SinkPartition
from schemas.settings import Settings
from schemas.topics import Topic
from tests.support import kafka_flow
from tests.support.kafka_flow import build, log_of, produce, run, settings_for
from tests.support.parts import range_of

ROOT = Path(__file__).parent.parent.parent
REQUESTS = 8000


def answers_so_far(settings: Settings) -> int:
    client = confluent_kafka.Consumer(
        {"bootstrap.servers": settings.kafka.bootstrap_servers, "group.id": "test"}
    )
    places = [
        confluent_kafka.TopicPartition(settings.kafka.topic(Topic.DECISIONS), k) for k in (0, 1)
    ]
    ends = [range_of(client, place)[1] for place in places]
    client.close()
    return sum(ends)


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)


def start(settings: Settings, recovery: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, kafka_flow.__file__, settings.kafka.bootstrap_servers,
               settings.kafka.topic_prefix, str(recovery)]  # fmt: skip
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)})


def check_effects(settings: Settings, late_bytes: bool = False) -> None:
    """Every request was answered once (with late bytes: at least once) and counted once."""
    answers = [value for log in log_of(settings, Topic.DECISIONS).values() for value in log]
    numbers = sorted(kafka_flow.identify(value) for value in answers)
    if late_bytes:
        numbers = sorted(set(numbers))
    assert numbers == list(range(1, REQUESTS + 1)), "a request has no answer, or two"
    final = [log[-1].split(b":") for log in log_of(settings, Topic.OUTCOMES).values()]
    assert sum(int(count) for count, _ in final) == REQUESTS
    assert sum(int(total) for _, total in final) == REQUESTS * (REQUESTS + 1) // 2


@pytest.fixture
def requested(server: Server, topic_prefix: str) -> Settings:
    settings = settings_for(server.address, topic_prefix)
    create_topics(settings.kafka)
    numbers = range(1, REQUESTS + 1)
    values = {k: [b"%d" % n for n in numbers if n % 2 == k] for k in (0, 1)}
    produce(settings, Topic.DECISION_REQUESTS, values)
    return settings


def test_a_killed_flow_goes_on_with_one_answer_per_request(
    requested: Settings, tmp_path: Path
) -> None:
    chance = random.Random(7)
    recovery = tmp_path / "recovery"
    kills = 0
    for _ in range(4):
        before = answers_so_far(requested)
        if before > REQUESTS * 0.8:
            break
        process = start(requested, recovery)
        wanted = before + chance.randrange(200, 1500)
        wait_until(lambda wanted=wanted: answers_so_far(requested) >= wanted)
        process.send_signal(signal.SIGKILL)
        ended = process.wait(10)
        if ended == 0:  # it was done before the signal came
            break
        assert ended == -signal.SIGKILL
        kills += 1
    assert kills
    last = start(requested, recovery)
    assert last.wait(60) == 0
    check_effects(requested)


def test_a_lost_recovery_store_gives_no_second_answer(requested: Settings, tmp_path: Path) -> None:
    process = start(requested, tmp_path / "first")
    wait_until(lambda: answers_so_far(requested) >= REQUESTS // 3)
    process.kill()
    process.wait(10)
    run(build(requested), tmp_path / "second")
    check_effects(requested)


def test_an_undelivered_record_stops_the_flow_and_its_epoch_is_replayed(
    requested: Settings, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"message.timeout.ms": "400", "socket.timeout.ms": "300"}
    impatient = settings_for(
        requested.kafka.bootstrap_servers, requested.kafka.topic_prefix, kafka_options=options
    )
    built = 0
    begin, write = SinkPartition.__init__, SinkPartition.write_batch

    def count_then_begin(sink, *given):
        nonlocal built
        built += 1
        begin(sink, *given)

    def freeze_then_write(sink, values):
        if built == 4:  # two topics of two partitions: what is opened later would ask the broker
            server.pause()
        write(sink, values)

    monkeypatch.setattr(SinkPartition, "__init__", count_then_begin)
    monkeypatch.setattr(SinkPartition, "write_batch", freeze_then_write)
    try:
        with pytest.raises(BytewaxRuntimeError) as raised:
            run(build(impatient), tmp_path / "recovery")
    finally:
        server.resume()
        monkeypatch.undo()
    assert isinstance(raised.value.__cause__, KafkaTrouble)
    assert "was not written" in str(raised.value.__cause__)
    run(build(requested), tmp_path / "recovery")
    # What the frozen broker had in its socket may land after the fence was read.
    check_effects(requested, late_bytes=True)
