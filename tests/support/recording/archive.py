"""The recorded log as one compressed file: topics, what was made of them, an old recovery store.

It was made by the release of commit b39c07a, before its code was moved and renamed; it is made
anew by ``python -m tests.support.recording.record``, which the same release must run.
"""

import io
import json
import sqlite3
import tarfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from msgspec import Struct

from flows.verification.log import Logged
from schemas.settings import Settings, load
from tests.support.recording.lines import read_lines, write_lines
from tests.support.recording.observed import Sections
from tests.support.recording.oddities import LARGEST
from tests.support.recording.old_records import OldRecord
from tests.support.recording.sending import PARTITIONS

ARCHIVE: Final = Path(__file__).parents[2] / "data" / "recorded" / "log.tar.xz"

SETTINGS: Final[dict[str, Any]] = {
    "secret": "a secret of the recorded log",
    "partitions": PARTITIONS,
    "epoch": 1,
    "batch_size": 200,
    "allowed_lateness": 60.0,
    "clock_tolerance": 0.0,  # which that release did not have: it holds clicks 3 s too early
    "max_record_bytes": LARGEST,
    "metrics_port": 0,
}
"""What the log was recorded with."""


_SAFELY: Final[dict[str, Any]] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
"""Python 3.11 knows filters from 3.11.4 on, and 3.12 warns where none is named."""


class Recorded(Struct):
    """What was recorded.

    ``log`` lies on the topics that the flows read. ``expected`` is what flows that begin with
    nothing make of it. ``recovery`` is the recovery folder of a personalize flow that was killed
    in the midst of it, ``state`` what that release reads in it, ``made`` the outcomes and dead
    letters that it had written by then. ``records`` are some of every topic.
    """

    log: list[Logged]
    made: list[Logged]
    expected: Sections
    records: list[OldRecord]
    recovery: Path
    state: Sections


def settings(bootstrap_servers: str, redis_url: str) -> Settings:
    """Give the settings that the log was recorded with, and is run with."""
    return load({}, bootstrap_servers=bootstrap_servers, redis_url=redis_url, **SETTINGS)


@contextmanager
def recorded(archive: Path = ARCHIVE) -> Iterator[Recorded]:
    """Read the archive; the recovery folder is there within the block."""
    with TemporaryDirectory(prefix="banditflow-recorded-") as temporary:
        folder = Path(temporary)
        with tarfile.open(archive, "r:xz") as file:
            file.extractall(folder, **_SAFELY)
        yield Recorded(
            log=read_lines(folder / "log.jsonl"),
            made=read_lines(folder / "made.jsonl"),
            expected=json.loads((folder / "expected.json").read_text()),
            records=[
                OldRecord(**each) for each in json.loads((folder / "records.json").read_text())
            ],
            recovery=folder / "recovery",
            state=json.loads((folder / "state.json").read_text()),
        )


def pack(what: Recorded, archive: Path) -> None:
    """Write the archive, the same for the same content."""
    with TemporaryDirectory(prefix="banditflow-recorded-") as temporary:
        folder = Path(temporary)
        write_lines(folder / "log.jsonl", what.log)
        write_lines(folder / "made.jsonl", what.made)
        (folder / "expected.json").write_text(json.dumps(what.expected, sort_keys=True))
        (folder / "state.json").write_text(json.dumps(what.state, sort_keys=True))
        records = [
            {name: getattr(each, name) for name in each.__struct_fields__} for each in what.records
        ]
        (folder / "records.json").write_text(json.dumps(records, ensure_ascii=False))
        for part in what.recovery.rglob("part-*.sqlite3"):
            with closing(sqlite3.connect(part)) as database:
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with tarfile.open(archive, "w:xz", preset=9) as file:
            for name in ("log.jsonl", "made.jsonl", "records.json", "expected.json", "state.json"):
                _add(file, name, folder / name)
            for path in sorted(what.recovery.rglob("*")):
                if path.is_file() and path.suffix != ".lock" and "sqlite3-" not in path.name:
                    _add(file, f"recovery/{path.relative_to(what.recovery)}", path)


def _add(archive: tarfile.TarFile, name: str, path: Path) -> None:
    content = path.read_bytes()
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), 0o600
    archive.addfile(entry, io.BytesIO(content))
