"""A broker that does not answer: which address, and at which step, is said soon and at the end."""

import logging
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress

import pytest

from flows.devkit.embedded import Server
from operators.io.kafka import client as kafka_client
from operators.io.kafka.client import KafkaUnavailable, partition_counts
from schemas.settings import load

Answer = Callable[[socket.socket], None]


def says_nothing(connection: socket.socket) -> None:
    while connection.recv(1000):
        pass


def hangs_up(connection: socket.socket) -> None:
    connection.recv(100)


def speaks_http(connection: socket.socket) -> None:
    connection.recv(100)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def wants_tls(connection: socket.socket) -> None:
    connection.recv(100)
    connection.sendall(b"\x15\x03\x03\x00\x02\x02\x46\x00")


def refuses_plain(connection: socket.socket) -> None:
    """A broker that knows another SASL mechanism only."""
    versions = [(3, 0, 1), (17, 0, 1), (18, 0, 0), (36, 0, 0)]
    listed = b"".join(struct.pack(">hhh", *version) for version in versions)
    while size := connection.recv(4):
        request = connection.recv(*struct.unpack(">i", size), socket.MSG_WAITALL)
        key, version, correlation = struct.unpack(">hhi", request[:8])
        if key == 18:
            body = struct.pack(">hi", 35 if version else 0, len(versions)) + listed
        else:
            body = struct.pack(">hih", 33, 1, 13) + b"SCRAM-SHA-512"
        answer = struct.pack(">i", correlation) + body
        connection.sendall(struct.pack(">i", len(answer)) + answer)


@pytest.fixture
def listening() -> Iterator[Callable[[Answer], str]]:
    """Make servers that answer every connection in their own way; give their addresses."""
    with ExitStack() as stack:

        def listen(answer: Answer) -> str:
            server = stack.enter_context(closing(socket.create_server(("127.0.0.1", 0))))

            def serve() -> None:
                while True:
                    try:
                        connection, _ = server.accept()
                    except OSError:
                        return
                    threading.Thread(target=answered, args=(connection,), daemon=True).start()

            def answered(connection: socket.socket) -> None:
                with closing(connection), suppress(OSError):
                    answer(connection)

            threading.Thread(target=serve, daemon=True).start()
            return f"127.0.0.1:{server.getsockname()[1]}"

        yield listen


def unanswered(
    servers: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, **others: str
) -> tuple[str, float, str]:
    """Ask a broker in vain; give what was said first, after how many seconds, and at the end."""
    monkeypatch.setattr(kafka_client, "PATIENCE", 1.0)
    settings = load({}, secret="sixteen letters!", bootstrap_servers=servers, **others)
    began = time.time()
    deadline = time.monotonic() + 3.0

    class Client:
        def list_topics(self, timeout: float) -> None:
            """Fail as the client does, once something was said: it takes five seconds itself."""
            while not caplog.records and time.monotonic() < deadline:
                time.sleep(0.01)
            raise kafka_client.KafkaException(
                kafka_client.KafkaError(kafka_client.KafkaError._TRANSPORT)
            )

    with caplog.at_level(logging.WARNING), pytest.raises(KafkaUnavailable) as ended:
        partition_counts(settings.kafka, Client())
    assert len(caplog.records) == 1
    (said,) = caplog.records
    return said.getMessage(), said.created - began, str(ended.value)


def test_nobody_listens(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    servers = "127.0.0.1:1, no-such-name.invalid:9092"
    why = "127.0.0.1:1: connection refused; no-such-name.invalid:9092: its name is not resolved"

    first, seconds, last = unanswered(servers, caplog, monkeypatch)

    for said in (first, last):
        assert "BANDITFLOW_BOOTSTRAP_SERVERS" in said
        assert why in said
    assert seconds < 3.0


@pytest.mark.parametrize(
    ("answer", "security", "why"),
    [
        (says_nothing, "PLAINTEXT", "accepts a connection and then says nothing: it is no Kafka"),
        (hangs_up, "PLAINTEXT", "ends the connection: .*BANDITFLOW_KAFKA_SECURITY"),
        (speaks_http, "PLAINTEXT", "answers otherwise than Kafka"),
        (wants_tls, "PLAINTEXT", "answers otherwise than Kafka: .*BANDITFLOW_KAFKA_SECURITY"),
        (speaks_http, "SSL", r"TLS fails \(BANDITFLOW_KAFKA_SECURITY.*: wrong version number"),
        (says_nothing, "SASL_SSL", "accepts a connection and then says nothing"),
    ],
)
def test_something_else_listens(
    answer: Answer,
    security: str,
    why: str,
    listening: Callable[[Answer], str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    servers = listening(answer)
    others = {"kafka_security": security, "kafka_username": "we", "kafka_password": "unspoken"}

    first, seconds, last = unanswered(servers, caplog, monkeypatch, **others)

    for said in (first, last):
        assert re.search(f"{servers}: {why}", said), said
        assert "unspoken" not in said
    assert seconds < 3.0


def test_a_full_queue_of_connections_gives_no_answer(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(closing(socket.create_server(("127.0.0.1", 0), backlog=0)))
        for _ in range(3):
            waiting = stack.enter_context(closing(socket.socket()))
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
        servers = f"127.0.0.1:{server.getsockname()[1]}"

        first, seconds, last = unanswered(servers, caplog, monkeypatch)

    assert f"{servers}: no answer to a connection" in first
    assert f"{servers}: no answer to a connection" in last
    assert seconds < 3.0


def test_a_broker_that_refuses_us_is_told_from_one_that_is_away(
    listening: Callable[[Answer], str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    login = {"kafka_username": "we", "kafka_password": "unspoken"}
    first, seconds, last = unanswered(
        listening(refuses_plain), caplog, monkeypatch, kafka_security="SASL_PLAINTEXT", **login
    )

    for said in (first, last):
        assert "refuses us (BANDITFLOW_KAFKA_USERNAME, _PASSWORD, _MECHANISM): SASL" in said
        assert "unspoken" not in said
    assert seconds < 3.5


def test_a_broker_that_answers_late_is_not_complained_of(
    broker: Server, caplog: pytest.LogCaptureFixture
) -> None:
    settings = load({}, secret="sixteen letters!", bootstrap_servers=broker.address)
    consumer = kafka_client.consumer(settings.kafka)

    class Late:
        def list_topics(self, timeout: float) -> object:
            time.sleep(0.8)
            return consumer.list_topics(timeout=timeout)

    with closing(consumer), caplog.at_level(logging.WARNING):
        partition_counts(settings.kafka, Late())
    assert not caplog.records
