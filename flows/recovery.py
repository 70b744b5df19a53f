"""Recovery stores: one folder per flow, made once, owned by one running flow."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from bytewax.recovery import RecoveryConfig, init_db_dir

from schemas.settings import Settings

PARTITIONS = 1


class RecoveryError(RuntimeError):
    """The recovery store cannot be used; the message says why and what to do."""


def recovery_config(settings: Settings, flow: str) -> RecoveryConfig | None:
    """Give Bytewax's configuration of the flow's recovery store; None where none is set."""
    if not settings.recovery:
        return None
    return RecoveryConfig(str(_folder(settings, flow)), backup_interval=timedelta(0))


@contextlib.contextmanager
def owned_recovery(settings: Settings, flow: str) -> Iterator[None]:
    """Make and own the flow's recovery store, readable by its owner only, within the block.

    Raises :class:`RecoveryError` when another running flow owns it: two flows on one store would
    each take the other's snapshots for their own.
    """
    if not settings.recovery:
        yield
        return
    folder = _folder(settings, flow)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    with (folder / "owner.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            owner = lock.read().strip() or "unknown"
            raise RecoveryError(
                f"the recovery store {folder} is in use by process {owner}: "
                f"stop that flow, or give this one its own BANDITFLOW_RECOVERY"
            ) from error
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        if not list(folder.glob("part-*.sqlite3")):
            init_db_dir(folder, PARTITIONS)
        yield


def _folder(settings: Settings, flow: str) -> Path:
    return Path(settings.recovery) / flow
