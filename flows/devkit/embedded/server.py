"""A part that runs, and that can be paused, killed and started again where it was."""

import signal
from pathlib import Path

from flows.devkit.embedded.parts import Part
from flows.runtime.ports import HOST, free_port, port_taken
from flows.runtime.processes import Child, ChildFailed
from flows.runtime.supervisor import Supervisor

_ATTEMPTS = 5


class Server:
    """One running part: started on a free port, ready when the constructor returns.

    Its data is in ``folder/NAME`` and stays there.
    """

    def __init__(self, supervisor: Supervisor, part: Part, folder: Path) -> None:
        self.part = part
        self.folder = folder / part.name
        self.folder.mkdir(parents=True, exist_ok=True)
        self._supervisor = supervisor
        self.child, self.port = self._start_anywhere()

    @property
    def address(self) -> str:
        """The ``host:port`` it serves on."""
        return f"{HOST}:{self.port}"

    def pause(self) -> None:
        """Hold its processes (SIGSTOP); its connections stay open."""
        self.child.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let its processes run on (SIGCONT)."""
        self.child.signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it by SIGKILL; the rest of the set goes on."""
        self.child.kill()
        self._supervisor.stop(self.child)

    def stop(self) -> None:
        """End it by SIGTERM; the rest of the set goes on."""
        self._supervisor.stop(self.child)

    def restart(self) -> None:
        """Start it again on the same port and data, killing it first if it still runs."""
        if self.child.running:
            self.kill()
        self.child, self.port = self._start_on(self.port)

    def _start_anywhere(self) -> tuple[Child, int]:
        for _ in range(_ATTEMPTS - 1):
            port = free_port()
            try:
                return self._start_on(port)
            except ChildFailed:
                if not port_taken(port):  # not another process that was faster to take the port
                    raise
        return self._start_on(free_port())

    def _start_on(self, port: int) -> tuple[Child, int]:
        child = self._supervisor.start(
            self.part.name,
            self.part.command(port, self.folder),
            ready=lambda: self._serves(port),
            timeout=self.part.timeout,
        )
        return child, self._port(port)

    def _serves(self, port: int) -> bool:
        actual = self._port(port)
        return actual != 0 and self.part.ready(actual)

    def _port(self, asked: int) -> int:
        return asked if self.part.own_port is None else self.part.own_port(self.folder) or 0
