"""What a recovery store holds: every step's state as of the epoch that a restart resumes from."""

import contextlib
import io
import pickle
import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import quote

from flows.registry import INPUT, Flow
from flows.runtime.recovery import RESUME, RecoveryError, recovery_folder, usable
from operators.io.kafka.catalog_source import restore_catalog
from operators.io.kafka.group import place_of, restore
from schemas.settings import Settings
from schemas.state import check_format
from schemas.topics import Topic

_NEWEST = """
    SELECT step_id, state_key, ser_change FROM snaps AS snap
    WHERE snap_epoch = (
        SELECT MAX(snap_epoch) FROM snaps
        WHERE step_id = snap.step_id AND state_key = snap.state_key AND snap_epoch < ?
    )
"""

_REPLACE = """
    UPDATE snaps SET ser_change = ? WHERE step_id = ? AND state_key = ? AND snap_epoch = (
        SELECT MAX(snap_epoch) FROM snaps WHERE step_id = ? AND state_key = ? AND snap_epoch < ?
    )
"""

States = dict[str, dict[str, Any]]
"""Snapshots by step and state key."""


def read_states(folder: Path) -> States:
    """Read the snapshots that a restart of the flow in ``folder`` would resume from.

    Raises :class:`RecoveryError` where the folder holds no recovery store.
    """
    with usable(folder):
        parts = sorted(folder.glob("part-*.sqlite3")) if folder.parent.name else []
    if not folder.parent.name:
        raise RecoveryError("BANDITFLOW_RECOVERY is not set: without it nothing is kept")
    if not parts:
        raise RecoveryError(
            f"{folder} (BANDITFLOW_RECOVERY) holds no recovery store: no flow has run with it yet"
        )
    epochs: list[int] = []
    rows: list[tuple[str, str, bytes | None]] = []
    with usable(folder):
        for part in parts:
            with contextlib.closing(_open(part)) as database:
                epochs += [epoch for _, _, epoch in database.execute(RESUME)]
        resume = max(epochs, default=0)
        for part in parts:
            with contextlib.closing(_open(part)) as database:
                rows += database.execute(_NEWEST, (resume,)).fetchall()
    states: States = {}
    for step, key, change in rows:
        if change is not None:
            states.setdefault(step, {})[key] = _unpickled(folder, change)
    return states


def _unpickled(folder: Path, change: bytes) -> Any:
    try:
        return _Plain(io.BytesIO(change)).load()
    except RecoveryError:
        raise
    except Exception as error:  # a pickle that is none may raise anything
        raise RecoveryError(
            f"the recovery store {folder} (BANDITFLOW_RECOVERY) is damaged: a snapshot cannot be "
            "read. Bring back a copy of it, or move it away: the flow then begins anew"
        ) from error


def states_of(settings: Settings, flow: Flow) -> States:
    """Read the snapshots that a restart of this flow would resume from: :func:`read_states`."""
    return read_states(recovery_folder(settings, flow.name))


def rewrite(folder: Path, changed: States) -> None:
    """Write other snapshots in the place of those that :func:`read_states` reads, all or none.

    Whoever calls it owns the recovery store.
    """
    (part,) = sorted(folder.glob("part-*.sqlite3"))
    with contextlib.closing(sqlite3.connect(part)) as database, database:
        database.execute("PRAGMA synchronous = FULL")
        resume = max(epoch for _, _, epoch in database.execute(RESUME))
        for step, snapshots in changed.items():
            for key, snapshot in snapshots.items():
                place = (str(step), key)
                database.execute(_REPLACE, (pickle.dumps(snapshot), *place, *place, resume))


def check_formats(settings: Settings, flow: Flow) -> None:
    """Raise :class:`schemas.state.StateError` where the recovery store is not of this release.

    A worker would say the same of its snapshots, but among the words of all others that end with
    it, and be started again in vain.
    """
    folder = recovery_folder(settings, flow.name)
    with usable(folder):
        if not settings.state.recovery or not any(folder.glob("part-*.sqlite3")):
            return
    states = read_states(folder)
    for step in flow.steps:
        if step.state_format is not None:
            for snapshot in states.get(step, {}).values():
                check_format(*step.state_format, snapshot, older=step.older)


def offsets_of(flow: Flow, states: States) -> dict[tuple[Topic, int], int]:
    """Give the offset at which the flow goes on, by topic and partition, among its snapshots."""
    return {
        (Topic(topic), int(part.rpartition("/")[2])): offset
        for part, snapshot in states.get(flow.offsets_step, {}).items()
        for topic, offset in restore(snapshot).offsets.items()
    }


def released_by(flow: Flow, states: States) -> dict[str, int]:
    """Read the offset at which each of a flow's sources goes on, by ``topic/partition``."""
    offsets = {place_of(*place): offset for place, offset in offsets_of(flow, states).items()}
    for topic in flow.rereads:
        for step in flow.steps:
            if step.kind == INPUT and step != flow.offsets_step:
                for snapshot in states.get(step, {}).values():
                    offsets[place_of(topic, 0)] = restore_catalog(snapshot).offset
    return offsets


def progress(folder: Path) -> tuple[int, int]:
    """Say which execution of the flow was the last (-1: none), and how many epochs it closed."""
    closed = (-1, 0)
    for part in folder.glob("part-*.sqlite3"):
        # A store that is being made has no tables yet.
        with (
            contextlib.suppress(sqlite3.OperationalError),
            contextlib.closing(_open(part)) as database,
        ):
            for execution, began, epoch in database.execute(RESUME):
                closed = max(closed, (execution, epoch - began))
    return closed


def _open(part: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(part))}?mode=ro", uri=True)


class _Plain(pickle.Unpickler):
    """Reads pickles of bytes and numbers only, so that a foreign store cannot run code."""

    def find_class(self, module: str, name: str) -> Any:
        raise RecoveryError(f"the recovery store holds a {module}.{name}: it is not ours")
