"""Copies on a real Valkey: versions, expiry, and a server that dies, freezes or forgets."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count
from queue import Queue

import bytewax.operators as op
import numpy as np
import pytest
import redis
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSource, run_main
from prometheus_client import CollectorRegistry

from flows.devkit.embedded import Server
from operators.io.metrics.redis import RedisMetrics
from operators.io.redis import (
    CachedCopy,
    CacheWrite,
    CacheWriter,
    RedisSink,
    WriteBuffer,
    client,
    read,
)
from operators.io.redis.call import BATCH, SCRIPT
from operators.io.redis.call import send as send_with
from operators.io.redis.writer import GATHER, HOLD_BACK
from schemas.settings import SettingsError, load

TTL = 60.0
BEYOND_DOUBLES = 2**53
_NUMBERS = count()


@pytest.fixture
def url(valkey: Server) -> str:
    return f"redis://{valkey.address}/0"


@pytest.fixture
def connection(url: str) -> Iterator[redis.Redis]:
    connection = client(url)
    connection.flushall()
    yield connection
    connection.close()


@pytest.fixture
def registry() -> CollectorRegistry:
    """Where the test's writers count."""
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> RedisMetrics:
    """What the test's writers report."""
    return RedisMetrics(registry)


@pytest.fixture
def total(registry: CollectorRegistry) -> Callable[[str], float]:
    """Give the value of a metric without labels."""
    return lambda name: registry.get_sample_value(name) or 0.0


@pytest.fixture
def start(url: str, metrics: RedisMetrics) -> Iterator[Callable[..., CacheWriter]]:
    """Start writers that end with the test."""
    writers: list[CacheWriter] = []

    def start(buffer: WriteBuffer, timeout: float = 0.3) -> CacheWriter:
        writers.append(CacheWriter(url, buffer, timeout=timeout, longest_wait=0.3, metrics=metrics))
        return writers[-1]

    yield start
    for writer in writers:
        writer.close()


def write(key: str, version: int, text: str | None = "x", ttl: float = TTL) -> CacheWrite:
    return CacheWrite(key, version, ttl, {} if text is None else {"text": text})


def send(connection: redis.Redis, *writes: CacheWrite) -> int:
    return send_with(connection.register_script(SCRIPT), writes)


def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "what was awaited did not happen"
        time.sleep(0.01)


def test_a_write_replaces_an_older_one_and_all_of_its_fields(connection: redis.Redis) -> None:
    assert send(connection, CacheWrite("k", 9, TTL, {"a": "1", "b": b"\xc3\xa9"})) == 1
    assert send(connection, CacheWrite("k", 10, TTL, {"a": "2"})) == 1
    assert read(connection, "k") == CachedCopy(10, {"a": "2"})


@pytest.mark.parametrize("newest", [7, 10**15, BEYOND_DOUBLES + 1, 2**63 + 1])
def test_an_older_or_equal_version_changes_nothing(connection: redis.Redis, newest: int) -> None:
    """2^53 and 2^53 + 1 are one number to Lua; the guard tells them apart."""
    send(connection, write("k", newest, "newest", ttl=TTL))
    assert send(connection, write("k", newest, "again"), write("k", newest - 1, "older")) == 0
    assert read(connection, "k") == CachedCopy(newest, {"text": "newest"})


def test_concurrent_writers_leave_the_newest_version_whole(
    url: str, connection: redis.Redis
) -> None:
    keys, writers, each = [f"k{i}" for i in range(5)], 4, 300
    versions = np.random.default_rng(11).permutation(writers * each) + BEYOND_DOUBLES

    def work(mine: list[int]) -> None:
        own = client(url)
        for version in mine:
            text = {"one": str(version), "two": str(version)}
            send(own, *[CacheWrite(key, version, TTL, text) for key in keys])
        own.close()

    threads = [
        threading.Thread(target=work, args=(v.tolist(),)) for v in np.split(versions, writers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    newest = BEYOND_DOUBLES + writers * each - 1
    expected = CachedCopy(newest, {"one": str(newest), "two": str(newest)})
    assert [read(connection, key) for key in keys] == [expected] * len(keys)


def test_every_key_expires(connection: redis.Redis, start: Callable[..., CacheWriter]) -> None:
    buffer = WriteBuffer()
    start(buffer)
    buffer.add([write(f"k{i}", 1, None if i % 3 == 0 else "x", ttl=5.0 + i) for i in range(30)])
    until(lambda: connection.dbsize() == 30)
    left = [connection.pttl(f"k{i}") for i in range(30)]
    assert all(i < ms / 1000 <= 5 + i for i, ms in enumerate(left)), left


def test_a_write_renews_the_expiry_and_an_expired_key_takes_any_version(
    connection: redis.Redis,
) -> None:
    send(connection, write("k", 1, ttl=TTL), write("short", 9, ttl=0.05))
    send(connection, write("k", 2, ttl=2 * TTL))
    assert connection.pttl("k") > 1000 * TTL  # type: ignore[operator]
    until(lambda: connection.exists("short") == 0)
    assert send(connection, write("short", 3)) == 1


def test_removal_leaves_a_version_that_keeps_older_writes_out(connection: redis.Redis) -> None:
    send(connection, write("k", 5), write("k", 6, None))
    assert read(connection, "k") is None
    assert connection.pttl("k") > 0  # type: ignore[operator]
    send(connection, write("k", 5, "back from the dead"))
    assert read(connection, "k") is None
    send(connection, write("k", 7, "consented again"))
    assert read(connection, "k") == CachedCopy(7, {"text": "consented again"})


def test_one_bad_key_and_one_wide_hash_do_not_hold_up_their_batch(connection: redis.Redis) -> None:
    """A key of another type is ours to replace; Lua's stack is smaller than a wide hash."""
    connection.set("k", "not a hash")
    wide = {f"f{i}": str(i) for i in range(20_000)}
    assert send(connection, write("k", 1), CacheWrite("wide", 1, TTL, wide), write("z", 1)) == 3
    assert read(connection, "k") == CachedCopy(1, {"text": "x"})
    assert read(connection, "wide") == CachedCopy(1, wide)


@pytest.mark.parametrize(
    "bad",
    [
        CacheWrite("bad", 1, TTL, {"text": None}),  # type: ignore[dict-item]
        CacheWrite("\ud800", 1, TTL, {"text": "x"}),
        CacheWrite("bad", 1, float("nan"), {"text": "x"}),
    ],
    ids=["type", "encoding", "ttl"],
)
def test_what_cannot_be_sent_is_given_up_and_counted_alone(
    connection: redis.Redis,
    start: Callable[..., CacheWriter],
    bad: CacheWrite,
    total: Callable[[str], float],
) -> None:
    before = total("banditflow_redis_refused_total"), total("banditflow_redis_writes_total")
    buffer = WriteBuffer()
    buffer.add([*(write(f"a{i}", 1) for i in range(20)), bad, write("z", 1)])
    start(buffer)
    until(lambda: connection.dbsize() == 21)
    until(lambda: total("banditflow_redis_refused_total") == before[0] + 1)
    assert total("banditflow_redis_writes_total") == before[1] + 21
    buffer.add([write("later", 1)])
    until(lambda: read(connection, "later"))
    assert len(buffer) == 0


def test_a_full_server_refuses_and_takes_again_once_it_has_room(
    connection: redis.Redis, start: Callable[..., CacheWriter], registry: CollectorRegistry
) -> None:
    """A script that has once written may go on beyond maxmemory; ours asks first."""
    send(connection, write("kept", 1, "old"))
    used = connection.info("memory")["used_memory"]
    connection.config_set("maxmemory-policy", "noeviction")
    connection.config_set("maxmemory", used + 1_000_000)
    try:
        buffer = WriteBuffer()
        buffer.add([write(f"k{i}", 1, "x" * 1000) for i in range(10_000)])
        buffer.add([write("kept", 2, "new")])
        start(buffer)
        full = {"error": "OutOfMemoryError"}
        until(lambda: registry.get_sample_value("banditflow_redis_errors_total", full))
        assert connection.info("memory")["used_memory"] < used + 4_000_000  # type: ignore[index]
        assert read(connection, "kept") == CachedCopy(1, {"text": "old"})
        assert len(buffer) > 0
    finally:
        connection.config_set("maxmemory", 0)
    until(lambda: connection.dbsize() == 10_001)
    until(lambda: read(connection, "kept") == CachedCopy(2, {"text": "new"}))


def test_ten_thousand_keys_arrive_in_batches(
    connection: redis.Redis, start: Callable[..., CacheWriter], total: Callable[[str], float]
) -> None:
    before = total("banditflow_redis_writes_total")
    calls = total("banditflow_redis_write_seconds_count")
    buffer = WriteBuffer()
    buffer.add([write(f"k{i}", 1, str(i)) for i in range(10_000)])
    start(buffer)
    until(lambda: connection.dbsize() == 10_000)
    until(lambda: total("banditflow_redis_writes_total") - before == 10_000)
    assert total("banditflow_redis_write_seconds_count") - calls == 10_000 / BATCH
    assert read(connection, "k9999") == CachedCopy(1, {"text": "9999"})


class Pauses:
    """The pauses of a writer: each is told, and lasts until the test ends it."""

    def __init__(self) -> None:
        self._begun: Queue[float] = Queue()
        self._ends = threading.Semaphore(0)

    def __call__(self, seconds: float) -> None:
        self._begun.put(seconds)
        self._ends.acquire()

    def next(self) -> float:
        """Wait until a pause begins; give the seconds that it would last."""
        return self._begun.get(timeout=10.0)

    def end(self, times: int = 1) -> None:
        self._ends.release(times)


def test_after_a_full_call_only_the_newest_of_each_key_is_sent(
    url: str, connection: redis.Redis, metrics: RedisMetrics, total: Callable[[str], float]
) -> None:
    """A copy is late by one pause at most, however often it changes meanwhile."""
    pauses, buffer = Pauses(), WriteBuffer()
    buffer.add([write(f"k{i}", 1) for i in range(2 * BATCH + 1)])
    writer = CacheWriter(url, buffer, metrics=metrics, pause=pauses)
    try:
        assert pauses.next() == HOLD_BACK
        assert connection.dbsize() == len(range(2 * BATCH + 1))
        assert total("banditflow_redis_write_seconds_count") == 3
        for version in range(2, 50):
            buffer.add([write("k7", version), write("k8", version)])
        assert read(connection, "k7") == CachedCopy(1, {"text": "x"})
        pauses.end()
        assert pauses.next() == GATHER
        assert read(connection, "k7") == read(connection, "k8") == CachedCopy(49, {"text": "x"})
        assert total("banditflow_redis_writes_total") == 2 * BATCH + 1 + 2
        assert total("banditflow_redis_write_seconds_count") == 4
    finally:
        pauses.end(100)
        writer.close()


def test_a_key_that_changes_again_keeps_its_place() -> None:
    buffer = WriteBuffer()
    buffer.add([write("first", 1), write("second", 1), write("first", 2)])
    assert buffer.take(1) == [write("first", 2)]


@pytest.mark.parametrize(("keys", "length"), [(49, 1), (9, 111)], ids=["keys", "bytes"])
def test_a_pause_ends_where_the_buffer_gets_half_full(keys: int, length: int) -> None:
    buffer = WriteBuffer(capacity=100, max_bytes=2000)
    paused = threading.Thread(target=buffer.pause, args=(3600.0,))
    paused.start()
    buffer.add([write("k", 1)])
    assert paused.is_alive()
    buffer.add([write(f"k{i}", 1, "x" * length) for i in range(keys)])
    paused.join(10.0)
    assert not paused.is_alive()


def test_what_waits_at_a_flows_end_is_sent_before_it_ends(
    url: str, connection: redis.Redis
) -> None:
    flow = Dataflow(f"ending{next(_NUMBERS)}")
    items = [(str(turn), [write(f"k{i}", turn) for i in range(2 * BATCH)]) for turn in range(9)]
    op.output("out", op.input("in", flow, TestingSource(items)), RedisSink(url))
    run_main(flow)
    assert connection.dbsize() == 2 * BATCH
    assert read(connection, "k0") == read(connection, "k999") == CachedCopy(8, {"text": "x"})


def test_the_buffer_keeps_the_newest_of_each_key() -> None:
    buffer = WriteBuffer()
    buffer.add([write("a", 2, "new"), write("a", 1, "old"), write("b", 1), write("b", 2, "new")])
    assert buffer.take(10) == [write("a", 2, "new"), write("b", 2, "new")]
    assert buffer.take(10) == []


def test_large_copies_are_bounded_by_their_bytes(
    metrics: RedisMetrics, total: Callable[[str], float]
) -> None:
    buffer = WriteBuffer(max_bytes=1000, metrics=metrics)
    buffer.add(write(f"k{number}", 1, "x" * 100) for number in range(12))
    assert len(buffer) == 10
    assert total("banditflow_redis_dropped_total") == 2
    buffer.add([write("k5", 2, "y" * 200)])
    assert len(buffer) == 9
    batch = buffer.take(500, 250)
    assert [each.key for each in batch] == ["k3", "k4"]
    buffer.give_back(batch)
    assert [each.key for each in buffer.take(1)] == ["k3"]
    buffer.add([write("huge", 1, "z" * 999)])
    assert [each.key for each in buffer.take(500, 250)] == ["huge"]
    assert buffer.take(500, 250) == []


def test_the_buffer_is_bounded_and_counts_what_it_gives_up(
    total: Callable[[str], float], metrics: RedisMetrics
) -> None:
    before = total("banditflow_redis_dropped_total")
    buffer = WriteBuffer(capacity=3, metrics=metrics)
    buffer.add([write(name, 1) for name in "abc"])
    taken = buffer.take(2)
    buffer.add([write("d", 1), write("b", 2)])
    buffer.give_back(taken)  # a, b are the oldest; b was overtaken
    assert len(buffer) == 3
    assert [(kept.key, kept.version) for kept in buffer.take(9)] == [
        ("b", 2),
        ("c", 1),
        ("d", 1),
    ]
    assert total("banditflow_redis_dropped_total") - before == 1


def test_a_killed_and_emptied_server_is_filled_again_by_itself(
    valkey: Server,
    url: str,
    connection: redis.Redis,
    start: Callable[..., CacheWriter],
    total: Callable[[str], float],
) -> None:
    """The new server knows neither the keys nor the script."""
    buffer = WriteBuffer()
    start(buffer)
    buffer.add([write("before", 1)])
    until(lambda: read(connection, "before") and total("banditflow_redis_up") == 1)
    valkey.kill()
    try:
        buffer.add([write(f"while-away{i}", 1) for i in range(2 * BATCH)])
        until(lambda: total("banditflow_redis_up") == 0)
    finally:
        valkey.restart()
    again = client(url)
    until(lambda: again.dbsize() == 2 * BATCH)
    buffer.add([write("after", 1)])
    until(lambda: read(again, "after"))
    assert read(again, "before") is None
    assert total("banditflow_redis_up") == 1
    again.close()


def test_a_lost_script_is_loaded_again(
    connection: redis.Redis, start: Callable[..., CacheWriter]
) -> None:
    buffer = WriteBuffer()
    start(buffer)
    for version in (1, 2):
        buffer.add([write("k", version)])
        until(lambda version=version: read(connection, "k") == CachedCopy(version, {"text": "x"}))
        connection.script_flush()


def test_a_frozen_server_blocks_nobody_and_loses_only_what_the_buffer_gave_up(
    valkey: Server,
    connection: redis.Redis,
    start: Callable[..., CacheWriter],
    total: Callable[[str], float],
    metrics: RedisMetrics,
) -> None:
    before = total("banditflow_redis_dropped_total")
    buffer, capacity, keys = WriteBuffer(capacity=2000, metrics=metrics), 2000, 6000
    start(buffer, timeout=2.0)
    valkey.pause()
    slowest = 0.0
    try:
        for first in range(0, keys, 100):
            started = time.perf_counter()
            buffer.add([write(f"k{i}", 1) for i in range(first, first + 100)])
            slowest = max(slowest, time.perf_counter() - started)
            assert len(buffer) <= capacity
        until(lambda: total("banditflow_redis_up") == 0)
    finally:
        valkey.resume()
    until(lambda: len(buffer) == 0 and total("banditflow_redis_up") == 1)
    until(lambda: connection.exists(*[f"k{i}" for i in range(keys - capacity, keys)]) == capacity)
    lost = keys - int(connection.dbsize())  # type: ignore[arg-type]
    assert 0 < lost <= total("banditflow_redis_dropped_total") - before
    assert slowest < 1.0  # an addition that waited for the server would take its timeout, 2 s


def test_the_sink_of_a_flow_writes_what_the_flow_gives_it(
    url: str, connection: redis.Redis
) -> None:
    settings = load({}, secret="sixteen letters!", redis_url=url)
    flow = Dataflow(f"hot{next(_NUMBERS)}")
    items = [(str(shard), [write(f"k{shard}-{i}", 1) for i in range(10)]) for shard in range(4)]
    op.output("out", op.input("in", flow, TestingSource(items)), RedisSink(settings.redis.url))
    run_main(flow)
    assert connection.dbsize() == 40


def test_a_flow_runs_on_without_redis(registry: CollectorRegistry) -> None:
    settings = load({}, secret="sixteen letters!", redis_url="redis://127.0.0.1:1/0")
    errors = "banditflow_redis_errors_total"
    flow = Dataflow("without_redis")
    op.output(
        "out",
        op.input("in", flow, TestingSource([("0", [write("k", 1)])])),
        RedisSink(settings.redis.url, RedisMetrics(registry)),
    )
    run_main(flow)
    until(lambda: registry.get_sample_value(errors, {"error": "ConnectionError"}))


def test_a_wrong_address_is_refused_by_the_name_of_its_setting() -> None:
    with pytest.raises(SettingsError, match="BANDITFLOW_REDIS_URL"):
        client("http://cache")


def said(caplog: pytest.LogCaptureFixture, seconds: float = 3.0) -> list[str]:
    """Wait until the writer has said something, and read it."""
    deadline = time.monotonic() + seconds
    while not caplog.messages and time.monotonic() < deadline:
        time.sleep(0.01)
    return caplog.messages


def test_keys_that_cannot_be_sent_now_are_reported_as_waiting(
    metrics: RedisMetrics, total: Callable[[str], float]
) -> None:
    """They are out of the buffer while they are tried, and back in it afterwards."""
    buffer = WriteBuffer()
    buffer.add([write(f"k{number}", 1) for number in range(20)])
    writer = CacheWriter("redis://127.0.0.1:1/0", buffer, 0.3, 0.05, metrics)
    until(lambda: total("banditflow_redis_errors_total") or total("banditflow_redis_buffered_keys"))
    until(lambda: total("banditflow_redis_buffered_keys"))
    writer.close()
    assert total("banditflow_redis_buffered_keys") == len(buffer) == 20


def test_redis_being_away_is_said_at_once_without_its_password(
    caplog: pytest.LogCaptureFixture,
) -> None:
    writer = CacheWriter("redis://we:unspoken@127.0.0.1:1/0", WriteBuffer(), longest_wait=0.1)
    try:
        (line,) = said(caplog)
    finally:
        writer.close()

    assert "Redis at 127.0.0.1:1 (BANDITFLOW_REDIS_URL): " in line
    assert "Connection refused" in line
    assert "the flow goes on" in line
    assert "unspoken" not in line


def test_a_refused_password_is_said_and_not_shown(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    writer = CacheWriter(url.replace("//", "//we:unspoken@"), WriteBuffer())
    try:
        (line,) = said(caplog)
    finally:
        writer.close()

    assert re.search("invalid username-password pair", line)
    assert "unspoken" not in line


def test_redis_that_answers_is_not_spoken_of(
    connection: redis.Redis, start: Callable[..., CacheWriter], caplog: pytest.LogCaptureFixture
) -> None:
    buffer = WriteBuffer()
    start(buffer)
    buffer.add([CacheWrite("k", 1, TTL, {"field": "value"})])
    deadline = time.monotonic() + 3.0
    while read(connection, "k") is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert not caplog.messages
