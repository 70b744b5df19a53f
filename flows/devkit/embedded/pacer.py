"""Stands before a broker that answers empty fetches at once and spaces its fetch answers out.

Kafka brokers hold an empty fetch for the time that the client asks for. One that answers at once
is asked again at once: some 24,000 times a second per consumer, half a core on either side. Here an
answer to a fetch waits until ``SPACING`` seconds after the one before it on the same connection;
everything else passes as it comes. Metadata answers name this port instead of the broker's.

Run as a script, ``pacer.py PORT COMMAND …``, it starts the command with a free port in the place of
the word ``{port}`` and serves on PORT until either ends.
"""

import asyncio
import contextlib
import signal
import socket
import struct
import subprocess
import sys
from collections import deque

HOST = "127.0.0.1"
SPACING = 0.005
_FETCH, _METADATA, _COORDINATOR = 1, 3, 10
_REQUEST = struct.Struct(">hhi")
_LENGTH = struct.Struct(">i")


class Pacer:
    """Copies frames between clients and the broker behind ``inner``."""

    def __init__(self, outer: int, inner: int) -> None:
        self._inner = inner
        address = HOST.encode()
        self._theirs = address + _LENGTH.pack(inner)
        self._ours = address + _LENGTH.pack(outer)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client until either side closes."""
        kinds: deque[int] = deque()
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            inner_reader, inner_writer = await asyncio.open_connection(HOST, self._inner)
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._ask(reader, inner_writer, kinds))
                    tasks.create_task(self._answer(inner_reader, writer, kinds))
            except* (OSError, asyncio.IncompleteReadError):
                pass
            inner_writer.close()
        writer.close()

    async def _ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kinds: deque[int]
    ) -> None:
        while True:
            head = await reader.readexactly(4)
            body = await reader.readexactly(_LENGTH.unpack(head)[0])
            kind, version, _ = _REQUEST.unpack_from(body)
            if not (kind == 0 and _unanswered(body, version)):
                kinds.append(kind)
            writer.write(head + body)
            await writer.drain()

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kinds: deque[int]
    ) -> None:
        loop = asyncio.get_running_loop()
        free = 0.0
        while True:
            head = await reader.readexactly(4)
            body = await reader.readexactly(_LENGTH.unpack(head)[0])
            kind = kinds.popleft()
            if kind == _FETCH:
                await asyncio.sleep(max(0.0, free - loop.time()))
                free = loop.time() + SPACING
            elif kind in (_METADATA, _COORDINATOR):
                body = body.replace(self._theirs, self._ours)
            writer.write(head + body)
            await writer.drain()


def _unanswered(body: bytes, version: int) -> bool:
    """Say whether a produce request wants no answer (acks=0)."""
    length = struct.unpack_from(">h", body, 8)[0]
    place = 10 + max(length, 0) + (1 if version >= 9 else 0)
    if version >= 3:  # a nullable transactional id stands before the acks
        if version >= 9:
            place += max(body[place] - 1, 0) + 1
        else:
            place += 2 + max(struct.unpack_from(">h", body, place)[0], 0)
    return bool(struct.unpack_from(">h", body, place)[0] == 0)


async def _run(outer: int, command: list[str]) -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        inner = int(probe.getsockname()[1])
    broker = subprocess.Popen([part.replace("{port}", str(inner)) for part in command])
    # The broker shares this process's group, so it is sent the same signal: it ends in its own
    # time, and this process with it.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: None)
    try:
        server = await asyncio.start_server(Pacer(outer, inner).serve, HOST, outer, limit=2**26)
        async with server:
            return await asyncio.to_thread(broker.wait)
    finally:
        broker.terminate()


if __name__ == "__main__":
    sys.exit(asyncio.run(_run(int(sys.argv[1]), sys.argv[2:])))
