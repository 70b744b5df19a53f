"""Fixtures of all tests: real servers, started when a test first asks for one."""

from collections.abc import Callable, Iterator, Mapping

import pytest
from hypothesis import settings as hypothesis_settings
from threadpoolctl import threadpool_limits

from flows.devkit.embedded import APACHE_KAFKA, NOIDA, VALKEY, Server
from operators.logic.kernels import load_kernels
from tests.support.parts import (
    NOT_PROVEN,
    Servers,
    count_not_proven,
    create_topics,
    delete_topics,
    prefix_for,
)

# The same examples in every run, so that a change fails for what it changes; the campaign
# `properties` looks for new ones. How long an example takes says nothing of the code.
hypothesis_settings.register_profile("same-examples", deadline=None, derandomize=True)
hypothesis_settings.register_profile("new-examples", deadline=None, print_blob=True)
hypothesis_settings.load_profile("same-examples")

# Helpers and stand-alone servers, not tests; importing some needs packages of their own.
collect_ignore_glob = ["support/*.py"]


def pytest_configure(config: pytest.Config) -> None:
    """Compile kernels before there are workers, which find them in the cache then.

    As in a flow BLAS has one thread: beside the other workers more of them would only spin.
    """
    threadpool_limits(1, user_api="blas")
    if config.getoption("numprocesses", default=None):
        load_kernels()


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """The session's servers, ended with the session."""
    with Servers(tmp_path_factory.mktemp("servers")) as servers:
        yield servers


@pytest.fixture(scope="session")
def broker(servers: Servers) -> Server:
    """The embedded Kafka-protocol broker; ``broker.address`` is what clients take."""
    return servers.get(NOIDA, "what needs the embedded Kafka-protocol broker")


@pytest.fixture(scope="module", autouse=True)
def _topics_of_a_module(servers: Servers) -> Iterator[None]:
    """Leave no topics to the next module: the embedded broker writes all it has every second."""
    yield
    broker = servers.running(NOIDA)
    if broker is not None:
        delete_topics(broker.address)


@pytest.fixture(scope="session")
def valkey(servers: Servers) -> Server:
    """Valkey; ``redis://{valkey.address}/0``."""
    return servers.get(VALKEY, "what needs a real Valkey")


@pytest.fixture(scope="session")
def apache_kafka(servers: Servers) -> Server:
    """Apache Kafka in a JVM; mark the tests that use it with ``kafka``."""
    return servers.get(APACHE_KAFKA, "what needs Apache Kafka")


@pytest.fixture
def topic_prefix(request: pytest.FixtureRequest) -> str:
    """A topic prefix that no other test has."""
    return prefix_for(request.node.nodeid)


@pytest.fixture
def topics_for(topic_prefix: str) -> Callable[[Server, Mapping[str, int]], dict[str, str]]:
    """Create topics of the test's own: ``topics_for(broker, {"clicks": 4})["clicks"]``."""

    def create(server: Server, counts: Mapping[str, int]) -> dict[str, str]:
        create_topics(server.address, {topic_prefix + name: n for name, n in counts.items()})
        return {name: topic_prefix + name for name in counts}

    return create


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep count of what was skipped for the want of a part."""
    count_not_proven(report)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly what this run did not prove."""
    for reason, count in sorted(NOT_PROVEN.items()):
        terminalreporter.write_line(f"NOT PROVEN: {reason}: {count} tests skipped", yellow=True)
