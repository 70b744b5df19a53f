"""A TCP proxy before an Oracle listener that cuts connections around COMMIT."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

Cut = Literal["before", "after"]
"""Before the COMMIT reaches the server, or after it took effect but before its reply."""

_COMMIT = b"\x03\x0e"
"""The function code of a COMMIT, which is the last message of its packet."""


class OracleProxy:
    """Forwards until a COMMIT for which ``cuts`` holds an action; each action is used once.

    ``cuts`` has one entry per COMMIT to come, None to let it pass.
    """

    def __init__(self, target: int) -> None:
        self.cuts: list[Cut | None] = []
        self.done: list[Cut] = []
        self._target = target
        self._sockets: list[socket.socket] = []
        self.port = 0
        self.open()

    def open(self) -> None:
        """Listen, on the same port as before if there was one."""
        listener = self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = int(listener.getsockname()[1])
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def drop_all(self) -> None:
        """Cut every connection at once."""
        for each in self._sockets:
            _close(each)
        self._sockets.clear()

    def close(self) -> None:
        """Stop listening and cut every connection."""
        _close(self._listener)
        self.drop_all()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target))
            self._sockets += [client, server]
            silent = threading.Event()
            for work in (self._upward, self._downward):
                threading.Thread(target=work, args=(client, server, silent), daemon=True).start()

    def _upward(self, client: socket.socket, server: socket.socket, cut: threading.Event) -> None:
        for data in _received(client):
            action = self._action(data)
            if action == "before":
                break
            if action == "after":
                cut.set()
            try:
                server.sendall(data)
            except OSError:
                break
            if action == "after":
                return
        _close(client)
        _close(server)

    def _downward(self, client: socket.socket, server: socket.socket, cut: threading.Event) -> None:
        for data in _received(server):
            if cut.is_set():
                break
            try:
                client.sendall(data)
            except OSError:
                break
        _close(client)
        _close(server)

    def _action(self, data: bytes) -> Cut | None:
        if data[-4:-2] != _COMMIT or not self.cuts:
            return None
        action = self.cuts.pop(0)
        if action is not None:
            self.done.append(action)
        return action


@contextmanager
def proxy(target: int) -> Iterator[OracleProxy]:
    """Open a proxy to a port of this machine."""
    opened = OracleProxy(target)
    try:
        yield opened
    finally:
        opened.close()


def _received(source: socket.socket) -> Iterator[bytes]:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 20):
            yield data


def _close(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()
