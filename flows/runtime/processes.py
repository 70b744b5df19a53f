"""Child processes that never outlive their parent."""

import contextlib
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from flows.runtime.guard import Guard, group_alive, signal_group

# The child waits for a line from its parent before it becomes the program, so that the guard knows
# its group before there is anything to lose: a parent killed in between leaves nothing running.
_GATE = ("/bin/sh", "-c", 'read -r go && exec "$@" </dev/null', "gate")

TERMINATE_GRACE = 5.0
"""Seconds a child has between SIGTERM and SIGKILL."""


class ChildFailed(RuntimeError):  # noqa: N818 - it reads as what is the case
    """A child ended, or never became ready; the message names it and quotes its log's end."""

    def __init__(self, child: "Child", what: str) -> None:
        self.child = child
        super().__init__(f"{child.name} {what}; the end of its log {child.log}:\n{child.tail()}")


class Child:
    """A process in a session and group of its own, its output in a log file.

    Signals go to the whole group, so a wrapper that starts the real program does not shield it.
    ``on_exit`` is called from a thread of the child's own when its first process has ended.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        log: Path,
        guard: Guard,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        on_exit: "Callable[[Child], None]",
    ) -> None:
        self.name = name
        self.log = log
        self.end_wanted = False
        """Its end was asked for, so it is no failure."""

        self._guard = guard
        self._on_exit = on_exit
        self._ended = threading.Event()
        self._process = _start(argv, log, env, cwd)
        self.pid = self._process.pid
        guard.watch(self.pid)
        _open_gate(self._process)
        self._reaper = threading.Thread(target=self._reap, name=f"reap {name}", daemon=True)
        self._reaper.start()

    @property
    def running(self) -> bool:
        """Say whether its first process still runs."""
        return not self._ended.is_set()

    def poll(self) -> int | None:
        """Give the exit status, negative for a signal; None while it runs."""
        return self._process.returncode if self._ended.is_set() else None

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for its end and give the exit status; None when ``timeout`` seconds pass first."""
        self._ended.wait(timeout)
        return self.poll()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the whole group, such as SIGSTOP and SIGCONT to pause it."""
        signal_group(self.pid, number)

    def terminate(self, grace: float = TERMINATE_GRACE) -> None:
        """End the group with SIGTERM, and what is left of it after ``grace`` seconds by force."""
        self.end_wanted = True
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)
        self._ended.wait(grace)
        self.kill()

    def kill(self) -> None:
        """End the group by SIGKILL and wait until it is gone."""
        self.end_wanted = True
        self.signal(signal.SIGKILL)
        self._ended.wait()
        # Members that were not ours to reap vanish once init has reaped them.
        deadline = time.monotonic() + 1.0
        while group_alive(self.pid) and time.monotonic() < deadline:
            time.sleep(0.005)
        self._guard.forget(self.pid)

    def join(self) -> None:
        """Wait until ``on_exit`` has returned."""
        if threading.current_thread() is not self._reaper:
            self._reaper.join()

    def tail(self, lines: int = 20) -> str:
        """Give the last lines of its log."""
        with contextlib.suppress(FileNotFoundError), self.log.open(errors="replace") as log:
            return "".join(deque(log, lines)).rstrip("\n")
        return ""

    def _reap(self) -> None:
        self._process.wait()
        self._ended.set()
        self._on_exit(self)


def describe_exit(status: int | None) -> str:
    """Say how a process ended.

    >>> describe_exit(3), describe_exit(-9)
    ('ended with status 3', 'was ended by SIGKILL')
    """
    if status is not None and status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"ended with status {status}"


def _start(
    argv: Sequence[str], log: Path, env: Mapping[str, str] | None, cwd: Path | None
) -> "subprocess.Popen[bytes]":
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            [*_GATE, *argv],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=None if env is None else dict(env),
            cwd=cwd,
            start_new_session=True,
        )


def _open_gate(process: "subprocess.Popen[bytes]") -> None:
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(b"go\n")
        process.stdin.flush()
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
