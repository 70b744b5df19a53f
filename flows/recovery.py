"""Recovery stores: one folder per flow, made once, owned by one running flow."""

import fcntl
import os
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import IO

from bytewax.recovery import RecoveryConfig, init_db_dir

PARTITIONS = 1


class RecoveryError(RuntimeError):
    """The recovery store cannot be used; the message says why and what to do."""


@dataclass
class RecoveryStore:
    """An open recovery store; the lock is held until :meth:`close` or the process ends."""

    folder: Path
    lock: IO[str]

    def config(self) -> RecoveryConfig:
        """Give Bytewax's configuration of this store."""
        return RecoveryConfig(str(self.folder), backup_interval=timedelta(0))

    def close(self) -> None:
        """Give the store up."""
        self.lock.close()


def open_recovery(root: str, flow: str) -> RecoveryStore:
    """Open (or make) the recovery store of ``flow`` under ``root``, readable by its owner only.

    Raises :class:`RecoveryError` when another running flow owns it: two flows on one store would
    each take the other's snapshots for their own.
    """
    folder = Path(root) / flow
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    lock = (folder / "owner.lock").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.seek(0)
        owner = lock.read().strip() or "unknown"
        lock.close()
        raise RecoveryError(
            f"the recovery store {folder} is in use by process {owner}: "
            f"stop that flow, or give this one its own BANDITFLOW_RECOVERY"
        ) from error
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    if not list(folder.glob("part-*.sqlite3")):
        init_db_dir(folder, PARTITIONS)
    return RecoveryStore(folder, lock)
