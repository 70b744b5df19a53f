"""Local parts for development: a broker and Valkey as child processes on loopback."""

import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from flows.devkit.embedded import mock
from flows.devkit.embedded.apache_kafka import APACHE_KAFKA
from flows.devkit.embedded.noida import NOIDA
from flows.devkit.embedded.parts import Part, PartUnavailable, kafka_answers
from flows.devkit.embedded.server import Server
from flows.devkit.embedded.valkey import VALKEY
from flows.runtime.processes import Child, ChildFailed
from flows.runtime.supervisor import Supervisor

__all__ = [
    "APACHE_KAFKA",
    "BROKERS",
    "MOCK",
    "NOIDA",
    "VALKEY",
    "Child",
    "ChildFailed",
    "Embedded",
    "Part",
    "PartUnavailable",
    "Server",
    "Supervisor",
]

MOCK = Part("mock", mock.command, kafka_answers, own_port=mock.own_port)

BROKERS = {part.name: part for part in (NOIDA, MOCK, APACHE_KAFKA)}
"""The brokers to choose from by name."""


class Embedded:
    """A broker and Valkey, ready when the ``with`` block begins and gone when it ends.

    ``folder`` takes their data and logs and is kept; without one they go to a temporary folder.
    ``broker`` is a name in :data:`BROKERS`; ``redis`` says whether Valkey is wanted. Further
    children started with ``supervisor`` stand and fall with the parts. However this process ends,
    SIGKILL included, the children end with it; when one of them ends unasked the others are ended
    and :meth:`check`, :meth:`wait` and the end of the block raise :class:`ChildFailed`. A part that
    cannot be had raises :class:`PartUnavailable`.
    """

    def __init__(
        self, folder: Path | None = None, *, broker: str = NOIDA.name, redis: bool = True
    ) -> None:
        if broker not in BROKERS:
            raise ValueError(f"broker: {broker!r} is none of {', '.join(BROKERS)}")
        self._wanted = folder
        self._broker = BROKERS[broker]
        self._redis = redis

    def __enter__(self) -> Self:
        """Start the parts."""
        self._temporary = None
        if self._wanted is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="banditflow-")
        self.folder = Path(self._temporary.name if self._temporary else self._wanted or ".")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.supervisor = Supervisor(self.folder / "logs")
        try:
            if self._temporary:
                self.supervisor.guard.remove_at_end(self.folder)
            self.broker = Server(self.supervisor, self._broker, self.folder)
            self.valkey = Server(self.supervisor, VALKEY, self.folder) if self._redis else None
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the parts; a child's failure is what is raised, whatever else it led to."""
        try:
            self.supervisor.__exit__(kind, error, trace)
        finally:
            self._close()

    @property
    def bootstrap_servers(self) -> str:
        """The broker's address, as Kafka clients take it."""
        return self.broker.address

    @property
    def redis_url(self) -> str:
        """Valkey's address, as Redis clients take it."""
        if self.valkey is None:
            raise PartUnavailable("these parts were started without Redis")
        return f"redis://{self.valkey.address}/0"

    def check(self) -> None:
        """Raise :class:`ChildFailed` if a child ended unasked."""
        self.supervisor.check()

    def wait(self, timeout: float | None = None) -> None:
        """Block for ``timeout`` seconds, or raise as soon as a child ends unasked."""
        self.supervisor.wait(timeout)

    def _close(self) -> None:
        self.supervisor.close()
        if self._temporary:
            self._temporary.cleanup()
