"""Running a flow: in this process, or as supervised worker processes that restart together."""

import gc
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from bytewax.run import cli_main
from threadpoolctl import threadpool_limits

from flows.registry import FLOWS
from flows.runtime import endings
from flows.runtime.clock import system_clock
from flows.runtime.ports import HOST, free_port
from flows.runtime.processes import Child, ChildFailed, describe_exit
from flows.runtime.quarantine.execution import begin_execution
from flows.runtime.quarantine.quarantine import Quarantine
from flows.runtime.recovery import (
    RecoveryUnwritable,
    attended_recovery,
    discard_unfinished,
    executions,
    named_recovery,
    owned_recovery,
    recovery_config,
)
from flows.runtime.supervisor import Supervisor
from operators.io.metrics.exporter import process_registry, serve
from operators.io.metrics.root import Metrics
from operators.logic.placement import WorkerPlace
from schemas.settings import Settings, child_environment

RESTARTS = 10
"""More restarts than this within :data:`RESTART_WINDOW` seconds end the supervisor."""

RESTART_WINDOW = 120.0

_PAUSE = 1.0
"""Seconds until a recovery store that cannot be written is tried again."""


class Refused(RuntimeError):  # noqa: N818 - it reads as what is the case
    """A worker process ended for a reason that a human must mend; the message is its sentence."""


class CrashLoop(RuntimeError):  # noqa: N818 - it reads as what is the case
    """A flow dies again and again; the message quotes its log."""


def run(flow: str, settings: Settings, again: Callable[[], NoReturn] = endings.start_again) -> None:
    """Run a flow in this process until it is stopped; every stop is a crash to recover from.

    Where a step fails on a record another execution begins by ``again``, until it is found.
    """
    with owned_recovery(settings, flow):
        discard_unfinished(settings, flow)
        quarantine = quarantine_of(settings, flow)
        if quarantine is not None:
            quarantine.before_execution()
        work(flow, settings, again=again)


def work(
    flow: str,
    settings: Settings,
    process: int = 0,
    addresses: Sequence[str] = (),
    again: Callable[[], NoReturn] = endings.ask_for_start,
) -> None:
    """Run one worker process of a flow whose recovery store somebody owns.

    ``again`` ends it so that another execution begins.
    """
    execution = begin_execution(quarantine_of(settings, flow), process, again)
    port = settings.metrics.port + process if settings.metrics.port else 0
    _tune_interpreter()
    registry = process_registry()
    metrics = Metrics(registry)
    url = serve(registry, settings.metrics.host, port)
    print(f"{flow}: metrics at {url}", file=sys.stderr, flush=True)
    place = WorkerPlace(process, max(1, len(addresses)))
    settings = execution.settings(settings)
    seen = executions(settings, flow)
    dataflow = FLOWS[flow].dataflow(
        settings, system_clock, metrics, place, execution.releases, seen
    )
    execution.watch(dataflow, settings.state.stall_timeout, FLOWS[flow].steps)
    with (
        execution.noting_environment(),
        attended_recovery(settings, flow),
        named_recovery(settings, flow),
    ):
        cli_main(
            dataflow,
            process_id=process if addresses else None,
            addresses=list(addresses) or None,
            epoch_interval=execution.epoch(settings),
            recovery_config=recovery_config(settings, flow),
        )


def quarantine_of(settings: Settings, flow: str) -> Quarantine | None:
    """Open the quarantine of a flow; without a recovery folder there is none."""
    if not settings.state.recovery:
        return None
    return Quarantine(settings, FLOWS[flow], system_clock, endings.say)


def _tune_interpreter() -> None:
    """Make the interpreter fit for many small batches beside a few background threads.

    The matrices are small: BLAS threads would only spin. A thread that holds the interpreter for
    its usual 5 ms would hold every step up for as long. What was imported is never garbage.
    """
    threadpool_limits(1, user_api="blas")
    sys.setswitchinterval(0.0005)
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def supervise(flow: str, settings: Settings, processes: int, logs: Path) -> None:
    """Run a flow as ``processes`` workers; when one dies, all are started again.

    Bytewax ends the others itself, but nobody restarts them. Raises :class:`CrashLoop` when they
    die more than :data:`RESTARTS` times within :data:`RESTART_WINDOW` seconds, and at once
    :class:`Refused` where a worker says what a human must mend.
    """
    _end_on_sigterm()
    try:
        _keep_running(flow, settings, processes, logs)
    except KeyboardInterrupt:
        endings.say(endings.STOPPED)
        raise


def _keep_running(flow: str, settings: Settings, processes: int, logs: Path) -> None:
    deaths: deque[float] = deque(maxlen=RESTARTS)
    with owned_recovery(settings, flow):
        while True:
            try:
                discard_unfinished(settings, flow)
                quarantine = quarantine_of(settings, flow)
                search = quarantine and quarantine.before_execution()
                _run_workers(flow, settings, 1 if search else processes, logs)
            except (ChildFailed, RecoveryUnwritable) as failure:
                if isinstance(failure, ChildFailed) and failure.child.poll() == endings.AGAIN:
                    continue
                now = time.monotonic()
                if len(deaths) == RESTARTS and now - deaths[0] < RESTART_WINDOW:
                    raise CrashLoop(f"{flow} dies again and again: {failure}") from failure
                deaths.append(now)
                print(f"{flow}: {cause_of(failure)}; starting again", file=sys.stderr)
                if isinstance(failure, RecoveryUnwritable):
                    time.sleep(_PAUSE)


def cause_of(failure: ChildFailed | RecoveryUnwritable) -> str:
    """Say in a line why workers ended; its log may end with a sentence of an earlier life."""
    if isinstance(failure, RecoveryUnwritable):
        return str(failure)
    child = failure.child
    status = child.poll()
    if status is not None and status < 0:  # a signal: it could not say so itself
        return f"{child.name} {describe_exit(status)}"
    log = child.tail()
    return f"{child.name} died ({endings.said(log) or log.rpartition(chr(10))[2]})"


def _run_workers(flow: str, settings: Settings, processes: int, logs: Path) -> None:
    addresses = [f"{HOST}:{free_port()}" for _ in range(processes)] if processes > 1 else []
    supervisor = Supervisor(logs)
    try:
        with supervisor:
            for process in range(processes):
                command = [sys.executable, "-m", "flows", "worker", flow, "--process", str(process)]
                supervisor.start(
                    f"{flow}-{process}",
                    command + [part for address in addresses for part in ("--address", address)],
                    env=child_environment(settings),
                )
            supervisor.wait()
    except ChildFailed:
        _raise_refusal(supervisor.children)
        raise


def _raise_refusal(workers: Sequence[Child]) -> None:
    """Raise :class:`Refused` where a worker has ended for a reason that a human must mend."""
    for worker in workers:
        if worker.poll() == endings.REFUSED:
            raise Refused(endings.said(worker.tail()) or f"{worker.name} refuses: see {worker.log}")


def _end_on_sigterm() -> None:
    def end(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)
