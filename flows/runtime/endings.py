"""How a command ends: the sentence on standard error, and the exit status."""

import errno
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

FAULT, REFUSED, MAY_PASS, INTERRUPTED = 1, 2, 75, 130
"""A fault of Banditflow; what a human must mend; what may pass when it is started again; Ctrl-C."""

AGAIN, STALLED = 3, 70
"""Of a worker process that goes on as another execution; of one whose step made no progress."""

STOPPED = "stopped; a flow goes on from BANDITFLOW_RECOVERY"

_PREFIX = "banditflow: "


def explained(error: BaseException | None) -> Exception | None:
    """Find the error that was written for people: ours, where Bytewax has wrapped it."""
    while error is not None:
        ours = type(error).__module__.split(".")[0] in {"flows", "operators", "schemas"}
        if ours and isinstance(error, Exception):
            return error
        error = error.__cause__
    return None


def of_files(error: OSError) -> str | None:
    """Word an error of the system about a file; None where it is about none.

    >>> of_files(FileNotFoundError(2, "No such file or directory", "logs"))
    "cannot use 'logs': No such file or directory"
    """
    if error.filename is not None:
        return f"cannot use {os.fsdecode(error.filename)!r}: {error.strerror}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
        return f"cannot write: {error.strerror}"
    return None


def status_of(error: Exception) -> int:
    """Choose the exit status for an error that was written for people."""
    return MAY_PASS if getattr(error, "may_pass", False) else REFUSED


def say(sentence: object) -> None:
    """Print a sentence on standard error at once; what would move the cursor as a question mark."""
    shown = (c if c.isprintable() or c == "\n" else "?" for c in str(sentence))
    print(f"{_PREFIX}{''.join(shown)}", file=sys.stderr, flush=True)


def said(log: str) -> str:
    r"""Find the last sentence in the log of a process; nothing where it said none.

    >>> said("banditflow: the store is in use\nthread panicked")
    'the store is in use'
    """
    lines = [line for line in log.splitlines() if line.startswith(_PREFIX)]
    return lines[-1].removeprefix(_PREFIX) if lines else ""


def end_by(step_id: str, error: Exception) -> NoReturn:
    """End this process by what a step raised: with its sentence, or the place of the fault.

    Nothing is unwound, for Bytewax would cover the sentence with the text of a panic; and every
    stop is a crash to recover from.
    """
    known = explained(error)
    if known is None:
        show_place(error)
        say(f"a fault in step {step_id}: {type(error).__name__}")
    else:
        say(known)
    end(FAULT if known is None else status_of(known))


def show_place(error: Exception) -> None:
    """Print where an error was raised, without its message: that may hold values of a record."""
    for place in traceback.format_tb(error.__traceback__):
        print(place.rstrip(), file=sys.stderr)


def start_again() -> NoReturn:
    """Become the same command anew, in the same process: a flow then resumes as after a crash."""
    sys.stdout.flush()
    sys.stderr.flush()
    words = [word for word in sys.orig_argv[1:] if word != "--from-store"]
    os.execv(sys.executable, [sys.executable, *words])


def ask_for_start() -> NoReturn:
    """End a worker process that its supervisor is to start again."""
    end(AGAIN)


def interrupted(*_: object) -> NoReturn:
    """End this process by Ctrl-C: the handler of the signal in a process that runs a flow."""
    say(STOPPED)
    end(INTERRUPTED)


@contextmanager
def quiet_interrupts() -> Iterator[None]:
    """Let Ctrl-C end this process at once within the block, in which Bytewax runs.

    Raised within a step it would be a panic, whose text covers all else.
    """
    before = signal.signal(signal.SIGINT, lambda *_: end(INTERRUPTED))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def end(status: int) -> NoReturn:
    """End this process at once, without unwinding anything."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
