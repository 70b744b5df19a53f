"""A set of child processes that stand and fall together."""

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from flows.runtime.guard import Guard
from flows.runtime.processes import TERMINATE_GRACE, Child, ChildFailed, describe_exit

PROBE_INTERVAL = 0.03
"""Seconds between two probes of a child that is not ready yet."""


class Supervisor:
    """Start children, watch all of them, and end all of them.

    When a child ends unasked the others are ended at once, and :meth:`check`, :meth:`wait` and
    leaving the ``with`` block raise :class:`ChildFailed`. A guard process ends the children when
    this process is killed.
    """

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self.guard = Guard()
        self._children: list[Child] = []
        self._may_end: dict[Child, Collection[int]] = {}
        self._failure: ChildFailed | None = None
        self._failed = threading.Event()
        self._closing = False
        self._lock = threading.Lock()

    def start(
        self,
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        may_end: Collection[int] = (),
        ready: Callable[[], bool] | None = None,
        timeout: float = 30.0,
    ) -> Child:
        """Start a child; its log is ``logs/NAME.log``.

        With ``ready`` wait until it says so and raise :class:`ChildFailed` when the child ends
        first or ``timeout`` seconds pass. ``env`` replaces the environment, which is inherited
        without it. A child may end with one of the statuses in ``may_end``.
        """
        child = Child(
            name,
            argv,
            log=self.logs / f"{name}.log",
            guard=self.guard,
            env=env,
            cwd=cwd,
            on_exit=self._on_exit,
        )
        if ready:
            _await_ready(child, ready, timeout)
        with self._lock:
            self._children.append(child)
            self._may_end[child] = may_end
        if not child.running:  # it ended before it was in the list
            self._on_exit(child)
        return child

    @property
    def children(self) -> list[Child]:
        """The children in the order of their start."""
        with self._lock:
            return list(self._children)

    def check(self) -> None:
        """Raise :class:`ChildFailed` if a child ended unasked."""
        if self._failure is not None:
            raise self._failure

    def wait(self, timeout: float | None = None) -> None:
        """Block for ``timeout`` seconds, or raise as soon as a child ends unasked."""
        self._failed.wait(timeout)
        self.check()

    def stop(self, child: Child, grace: float = TERMINATE_GRACE) -> None:
        """End one child; the others go on."""
        child.terminate(grace)
        child.join()
        with self._lock:
            self._children.remove(child)

    def close(self) -> None:
        """End the children, the last started first, then the guard."""
        with self._lock:
            closed, self._closing = self._closing, True
        if closed:
            return
        for child in reversed(self.children):
            child.terminate()
            child.join()
        self.guard.close()

    def __enter__(self) -> Self:
        """Give itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End everything; a child's failure is what is raised, whatever else it led to."""
        self.close()
        if self._failure is not None and error is not self._failure:
            raise self._failure from error

    def _on_exit(self, child: Child) -> None:
        with self._lock:
            wanted = self._closing or child.end_wanted or child not in self._children
            finished = child.poll() in self._may_end.get(child, ())
            if wanted or finished or self._failure is not None:
                return
            self._failure = ChildFailed(child, describe_exit(child.poll()))
        for other in reversed(self.children):
            other.terminate()
        self._failed.set()


def _await_ready(child: Child, ready: Callable[[], bool], timeout: float) -> None:
    deadline = time.monotonic() + timeout
    try:
        while not (ready() and child.running):
            if not child.running:
                raise ChildFailed(child, f"{describe_exit(child.poll())} before it was ready")
            if time.monotonic() > deadline:
                raise ChildFailed(child, f"was not ready within {timeout:g} s")
            time.sleep(PROBE_INTERVAL)
    except BaseException:
        child.kill()
        raise
