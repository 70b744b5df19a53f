"""The guard: ends what a process started when that process is gone, however it went.

It is run as a script of its own, in its own session, and reads its standard input, a pipe whose
other end only the guarded process holds: the pipe closes even when that process is killed with
SIGKILL. One line each: ``+PGID`` watch a process group, ``-PGID`` forget it, ``~FOLDER`` remove
this folder at the end. A pipe works on every POSIX system; a parent-death signal only on Linux,
only for direct children, and it is tied to the thread that started them.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

GRACE = 2.0
"""Seconds a group has between SIGTERM and SIGKILL."""


def group_alive(pgid: int) -> bool:
    """Say whether a process group still has a member, a zombie included."""
    try:
        os.killpg(pgid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # macOS: the group has nothing but zombies
        return False
    return True


def signal_group(pgid: int, number: signal.Signals) -> None:
    """Send a signal to a process group; a group that is gone is no error."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pgid, number)


def end_groups(pgids: Sequence[int], grace: float = GRACE) -> None:
    """End process groups: SIGTERM, ``grace`` seconds, SIGKILL for what is left."""
    for pgid in pgids:
        signal_group(pgid, signal.SIGTERM)
    deadline = time.monotonic() + grace
    while any(map(group_alive, pgids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    for pgid in pgids:
        signal_group(pgid, signal.SIGKILL)


def watch(lines: Iterable[str], grace: float = GRACE) -> None:
    """Follow the lines to their end, then end the groups and remove the folders named."""
    groups: dict[int, None] = {}
    folders: list[str] = []
    for line in lines:
        sign, what = line[0], line[1:].rstrip("\n")
        if sign == "+":
            groups[int(what)] = None
        elif sign == "-":
            groups.pop(int(what), None)
        elif sign == "~":
            folders.append(what)
    end_groups(list(reversed(groups)), grace)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


class Guard:
    """The guarded process's end of the pipe.

    ``close()`` ends the guard; whatever is still watched then is ended by it.
    """

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(__file__))],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C reaches the whole foreground group: not the guard
            text=True,
            bufsize=1,
        )
        self.pid = self._process.pid

    def watch(self, pgid: int) -> None:
        """End this group when the guarded process ends."""
        self._send(f"+{pgid}\n")

    def forget(self, pgid: int) -> None:
        """Leave this group alone from now on."""
        with contextlib.suppress(BrokenPipeError):
            self._send(f"-{pgid}\n")

    def remove_at_end(self, folder: Path) -> None:
        """Remove this folder when the guarded process ends."""
        self._send(f"~{folder}\n")

    def close(self) -> None:
        """End the guard and wait for it."""
        self._process.communicate()

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line)
        self._process.stdin.flush()


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # only the end of the pipe ends the guard
    watch(sys.stdin)
