"""Why Kafka does not answer: each bootstrap address is tried from its name to its protocol."""

import contextlib
import logging
import socket
import ssl
import struct
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, wait
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from schemas.settings import KafkaSettings

logger = logging.getLogger("banditflow.kafka")

SOON = 0.5
"""Seconds without an answer after which the addresses are tried."""

AGAIN = 60.0
"""Seconds after which it is said again."""

_EACH = 1.0
"""Seconds for each step of a trial: to connect, and to be answered."""

_ALL = 1.8
"""Seconds after which a trial that is not done is given up: its name is being looked up."""

_API_VERSIONS = struct.pack(">hhih", 18, 0, 7, 0)
"""The first request of every client: API key, version, correlation id, no client id."""


@contextlib.contextmanager
def unanswered(
    settings: KafkaSettings, config: Mapping[str, Any], patience: float
) -> Iterator[list[str]]:
    """Say soon why Kafka does not answer within the block, and again each minute.

    ``config`` makes a client. Gives a list of what was said, the last of it last.
    """
    said: list[str] = []
    answered = threading.Event()

    def watch() -> None:
        delay = SOON
        while not answered.wait(delay):
            why = fault(settings, config)
            if why and not answered.is_set():
                said.append(why)
                logger.warning(
                    "Kafka does not answer (BANDITFLOW_BOOTSTRAP_SERVERS): %s; "
                    "trying again for %.0f s", why, patience,
                )  # fmt: skip
            delay = AGAIN if why else 1.0

    threading.Thread(target=watch, name="kafka unanswered", daemon=True).start()
    try:
        yield said
        if said:
            logger.warning("Kafka answers")
    finally:
        answered.set()


def fault(settings: KafkaSettings, config: Mapping[str, Any]) -> str:
    """Say of each address why Kafka does not answer there; nothing where it does at one.

    Takes some three seconds at most.
    """
    servers = [server.strip() for server in settings.bootstrap_servers.split(",")]
    trials = {server: _begun(settings, server) for server in servers[:8]}
    wait(trials.values(), _ALL)
    whys = {
        server: trial.result() if trial.done() else "its name is not resolved"
        for server, trial in trials.items()
    }
    if None in whys.values():
        refused = _refused(config)
        if not refused:
            return ""
        whys = {server: why or refused for server, why in whys.items()}
    return "; ".join(f"{server}: {why}" for server, why in whys.items())


def _begun(settings: KafkaSettings, server: str) -> "Future[str | None]":
    trial: Future[str | None] = Future()
    arguments = (settings, *_host_and_port(server), trial)
    threading.Thread(target=_try, args=arguments, name="kafka trial", daemon=True).start()
    return trial


def _host_and_port(server: str) -> tuple[str, int]:
    host, _, port = server.rpartition("://")[2].rpartition(":")
    if not host or server.endswith("]"):  # there is no port
        host, port = server.rpartition("://")[2], "9092"
    return host.strip("[]"), int(port)


def _try(settings: KafkaSettings, host: str, port: int, trial: "Future[str | None]") -> None:
    try:
        trial.set_result(_why(settings, host, port))
    except Exception as error:  # what nobody foresaw is no reason to be silent
        trial.set_result(f"{type(error).__name__}: {error}")


def _why(settings: KafkaSettings, host: str, port: int) -> str | None:
    """Say at which step an address fails; None where Kafka answers."""
    try:
        plain = socket.create_connection((host, port), _EACH)
    except (socket.gaierror, UnicodeError):
        return "its name is not resolved"
    except ConnectionRefusedError:
        return "connection refused"
    except TimeoutError:
        return "no answer to a connection"
    except OSError as error:
        return (error.strerror or str(error)).lower()
    with contextlib.closing(plain):
        plain.settimeout(_EACH)
        try:
            if settings.security.upper().endswith("SSL"):
                with _tls(settings, plain, host) as encrypted:
                    return _protocol(encrypted)
            return _protocol(plain)
        except ssl.SSLCertVerificationError as error:
            return f"its certificate is not accepted (BANDITFLOW_KAFKA_CA): {error.verify_message}"
        except ssl.SSLError as error:
            reason = (error.reason or "no reason").lower().replace("_", " ")
            return f"TLS fails (BANDITFLOW_KAFKA_SECURITY, _CA, _CERT, _KEY): {reason}"
        except TimeoutError:
            return f"accepts a connection and then says nothing: {_NO_KAFKA}"
        except OSError:
            return f"ends the connection: {_NO_KAFKA}"


_NO_KAFKA = "it is no Kafka, or expects another BANDITFLOW_KAFKA_SECURITY"


def _tls(settings: KafkaSettings, plain: socket.socket, host: str) -> ssl.SSLSocket:
    context = ssl.create_default_context()
    if settings.ca:
        context.load_verify_locations(settings.ca)
    if settings.cert:
        context.load_cert_chain(settings.cert, settings.key or None)
    return context.wrap_socket(plain, server_hostname=host)


def _protocol(connection: socket.socket) -> str | None:
    connection.sendall(struct.pack(">i", len(_API_VERSIONS)) + _API_VERSIONS)
    answer = b""
    while len(answer) < 8:
        part = connection.recv(8)
        if not part:
            return f"ends the connection: {_NO_KAFKA}"
        answer += part
    return (
        None if answer[4:8] == _API_VERSIONS[4:8] else f"answers otherwise than Kafka: {_NO_KAFKA}"
    )


def _refused(config: Mapping[str, Any]) -> str:
    """Say why a broker that answers refuses us; nothing where it does not."""
    errors: list[KafkaError] = []
    collecting: dict[str, Any] = {**config, "error_cb": errors.append}
    client = AdminClient(collecting)
    try:
        client.list_topics(timeout=_EACH)
        return ""
    except KafkaException:
        client.poll(0)
    mattering = [error for error in errors if error.code() == KafkaError._AUTHENTICATION]
    if mattering:
        text = " ".join(mattering[0].str().rpartition("SASL ")[2].split())
        return f"refuses us (BANDITFLOW_KAFKA_USERNAME, _PASSWORD, _MECHANISM): SASL {text}"
    named = [error.str() for error in errors if error.code() != KafkaError._ALL_BROKERS_DOWN]
    return " ".join(named[-1].split()) if named else "answers, but does not say what topics it has"
