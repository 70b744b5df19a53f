"""Recovery stores: one folder per flow, made once, owned by one running flow."""

import contextlib
import fcntl
import os
import re
import shutil
import sqlite3
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from bytewax.recovery import RecoveryConfig, init_db_dir

from operators.io.segments import FOR_NOW
from schemas.settings import Settings

PARTITIONS = 1

PAGE = 32_768
"""Bytes of a database page: snapshots are large values, which small pages would cut into chains."""

PATIENCE = 15.0
"""Seconds that a new owner waits for the workers of the one before."""

_WORKERS = "workers.lock"

_ROOM = 1 << 20
"""Bytes that a store must have room for."""

OWN_STORE = "stop that flow, or give this one its own BANDITFLOW_RECOVERY"
"""What to do about another flow on the same recovery store."""


RESUME = """
    WITH last AS (SELECT * FROM exs ORDER BY ex_num DESC LIMIT 1),
         frontiers AS (SELECT * FROM fronts WHERE ex_num = (SELECT ex_num FROM last))
    SELECT ex_num, resume_epoch, CASE
        WHEN (SELECT COUNT(*) FROM frontiers) < worker_count THEN resume_epoch
        ELSE MAX(resume_epoch, (SELECT MIN(worker_frontier) FROM frontiers))
    END FROM last
"""
"""The last execution, where it began, and where the next one does: with the slowest worker."""


class RecoveryError(RuntimeError):
    """The recovery store cannot be used; the message says why and what to do."""


class RecoveryUnwritable(RecoveryError):  # noqa: N818 - it reads as what is the case
    """The recovery store cannot be written: with room, or its disk, again, the flow goes on."""

    may_pass = True


def recovery_config(settings: Settings, flow: str) -> RecoveryConfig | None:
    """Give Bytewax's configuration of the flow's recovery store; None where none is set."""
    if not settings.state.recovery:
        return None
    return RecoveryConfig(str(recovery_folder(settings, flow)), backup_interval=timedelta(0))


@contextlib.contextmanager
def owned_recovery(settings: Settings, flow: str) -> Iterator[None]:
    """Make and own the flow's recovery store, readable by its owner only, within the block.

    Raises :class:`RecoveryError` when another running flow owns it: two flows on one store would
    each take the other's snapshots for their own. Also where the folder cannot be written.
    """
    if not settings.state.recovery:
        yield
        return
    folder = recovery_folder(settings, flow)
    with usable(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
        opened = (folder / "owner.lock").open("a+")
    with opened as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            owner = lock.read().strip() or "unknown"
            raise RecoveryError(
                f"the recovery store {folder} is in use by process {owner}: {OWN_STORE}"
            ) from error
        with usable(folder):
            os.ftruncate(lock.fileno(), 0)
            os.write(lock.fileno(), f"{os.getpid()}\n".encode())
            _await_workers(folder)
            if not list(folder.glob("part-*.sqlite3")):
                make_store(folder)
        yield


def make_store(folder: Path) -> None:
    """Make an empty recovery store in an existing folder; who looks meanwhile sees none."""
    making = folder / "making"
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir()
    init_db_dir(making, PARTITIONS)
    parts = sorted(making.glob("part-*.sqlite3"))
    for part in parts:
        with contextlib.closing(sqlite3.connect(part, isolation_level=None)) as database:
            # SQLite changes the size of pages only outside WAL mode, and by writing all anew.
            database.execute("PRAGMA journal_mode = DELETE")
            database.execute(f"PRAGMA page_size = {PAGE}")
            database.execute("VACUUM")
            database.execute("PRAGMA journal_mode = WAL")
    for part in parts:
        part.rename(folder / part.name)
    shutil.rmtree(making)


def executions(settings: Settings, flow: str) -> int:
    """Count the executions of the flow that its recovery store has seen; 0 where there is none.

    Workers that start together count the same: none is noted before all of them have met.
    """
    if not settings.state.recovery:
        return 0
    seen = 0
    for part in recovery_folder(settings, flow).glob("part-*.sqlite3"):
        with (
            contextlib.suppress(sqlite3.OperationalError),  # one that is being made
            contextlib.closing(sqlite3.connect(f"file:{part}?mode=ro", uri=True)) as database,
        ):
            for execution, _, _ in database.execute(RESUME):
                seen = max(seen, execution + 1)
    return seen


def discard_unfinished(settings: Settings, flow: str) -> None:
    """Forget the snapshots of epochs that were not closed; call it before every execution.

    Bytewax leaves what a crashed execution had already written of its last epoch. The next one
    counts its epochs on from there, so that it would close an epoch of the same number and take
    over such a snapshot of any key that it does not write itself: a sink would believe written, or
    a learner have learned, what is about to be read again.
    """
    if not settings.state.recovery:
        return
    folder = recovery_folder(settings, flow)
    with usable(folder):
        for part in folder.glob("part-*.sqlite3"):
            with contextlib.closing(sqlite3.connect(part)) as database, database:
                for _, _, epoch in database.execute(RESUME).fetchall():
                    database.execute("DELETE FROM snaps WHERE snap_epoch >= ?", (epoch,))


@contextlib.contextmanager
def attended_recovery(settings: Settings, flow: str) -> Iterator[None]:
    """Be a worker of the flow within the block: no other owner begins before it has ended.

    A supervisor that is killed may be outlived by its workers, for a moment.
    """
    if not settings.state.recovery:
        yield
        return
    folder = recovery_folder(settings, flow)
    with usable(folder):
        opened = (folder / _WORKERS).open("a")
    with opened as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield


def _await_workers(folder: Path) -> None:
    """Return once no worker of an earlier owner is left."""
    deadline = time.monotonic() + PATIENCE
    with (folder / _WORKERS).open("a") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise RecoveryError(
                        f"the recovery store {folder} is in use by workers of a flow that was "
                        "stopped: end them, or give this flow its own BANDITFLOW_RECOVERY"
                    ) from error
                time.sleep(0.05)
            else:
                return


@contextlib.contextmanager
def named_recovery(settings: Settings, flow: str) -> Iterator[None]:
    """Name the recovery store in the error when Bytewax cannot write to it within the block."""
    try:
        yield
    except RuntimeError as error:
        if "SqliteFailure" not in str(error):
            raise
        quoted = re.search(r'Some\("(.*?)"\)', str(error))
        why = quoted[1] if quoted else str(error)
        raise RecoveryUnwritable(_unwritable(recovery_folder(settings, flow), why)) from error
    except BaseException as error:
        # Of several processes each ends with a panic that does not say what went wrong.
        if type(error).__name__ == "PanicException" and settings.state.recovery:
            _try_to_write(recovery_folder(settings, flow))
        raise


def _try_to_write(folder: Path) -> None:
    """Raise :class:`RecoveryError` where there is no room in the recovery store."""
    trial = folder / f"trial-{os.getpid()}"
    with usable(folder):
        try:
            with trial.open("wb") as file:
                file.write(bytes(_ROOM))
                os.fsync(file.fileno())
        finally:
            trial.unlink(missing_ok=True)


def _unwritable(folder: Path, why: str) -> str:
    return (
        f"the recovery store {folder} cannot be written: {why}. Nothing is lost: make room there, "
        "or mend what is wrong with it, and start the flow again; it goes on from its last "
        "complete epoch"
    )


@contextlib.contextmanager
def usable(folder: Path) -> Iterator[None]:
    """Raise :class:`RecoveryError` where the recovery store cannot be used within the block."""
    try:
        yield
    except OSError as error:
        if error.errno in FOR_NOW:
            raise RecoveryUnwritable(_unwritable(folder, str(error))) from error
        raise RecoveryError(
            f"the recovery store {folder} cannot be written: {error.strerror}: "
            "BANDITFLOW_RECOVERY must name a folder that can be made, read and written"
        ) from error
    except sqlite3.Error as error:
        files = all(part.is_file() for part in folder.glob("part-*.sqlite3"))
        if files and isinstance(error, sqlite3.OperationalError) and "no such" not in str(error):
            raise RecoveryUnwritable(_unwritable(folder, str(error))) from error
        raise RecoveryError(
            f"the recovery store {folder} (BANDITFLOW_RECOVERY) is damaged or none: {error}. Bring "
            "back a copy of it, or move it away: the flow then begins anew"
        ) from error


def check_stopped(settings: Settings, flow: str, remedy: str = "stop that flow") -> None:
    """Raise :class:`RecoveryError` when a running flow owns the recovery store."""
    if not settings.state.recovery:
        return
    folder = recovery_folder(settings, flow)
    with usable(folder):
        try:
            opened = (folder / "owner.lock").open()
        except FileNotFoundError:
            return
    with opened as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = lock.read().strip() or "unknown"
            raise RecoveryError(
                f"the recovery store {folder} is in use by process {owner}: {remedy}"
            ) from error


def recovery_folder(settings: Settings, flow: str) -> Path:
    """Give the folder of a flow's recovery store."""
    return Path(settings.state.recovery) / flow
