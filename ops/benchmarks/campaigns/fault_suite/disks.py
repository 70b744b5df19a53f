"""The disk of the recovery store is full; and a small disk to fill."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from flows.registry import PERSIST, PERSONALIZE
from ops.benchmarks.campaigns.fault_suite.bars import Finding
from ops.benchmarks.campaigns.fault_suite.judge import judge
from ops.benchmarks.campaigns.fault_suite.lab import Lab


class NotHere(RuntimeError):  # noqa: N818 - it reads as what is the case
    """The fault cannot be made on this machine; the message says why."""


class SmallDisk:
    """A file system of its own that can be filled to the last byte."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def fill(self) -> None:
        """Leave no room."""
        with suppress(OSError), self._filler.open("wb", buffering=0) as filler:
            for size in (1 << 20, 1 << 12):
                with suppress(OSError):
                    while filler.write(bytes(size)) == size:
                        pass

    def empty(self) -> None:
        """Give the room back."""
        self._filler.unlink()


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[SmallDisk]:
    """Mount a file system in memory; raise :class:`NotHere` where that is not allowed."""
    folder.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise NotHere(f"a small disk needs mount: {error}") from error
    if done.returncode != 0:
        raise NotHere(f"a small disk needs the right to mount: {done.stderr.strip()}")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)


def fill_the_recovery_disk(found: Finding, lab: Lab) -> None:
    """Leave the recovery store no room: the flow stops and says so, and goes on with room."""
    with small_disk(lab.parts.folder / "recovery-disk", 128) as disk:
        stage = lab.stage("recovery-full", recovery=str(disk.folder / "recovery"))
        persist = stage.run(PERSIST.name, supervised=False)
        flow = stage.run(PERSONALIZE.name, supervised=False)
        with stage.visitors(lab.rate) as visitors:
            stage.answered(visitors, lab.portion)
            disk.fill()
            status = flow.ended()
            kept = stage.resumes_from(PERSONALIZE.name)
            disk.empty()
            same = kept == stage.resumes_from(PERSONALIZE.name)
            flow.restart()
            if not persist.child.running:
                persist.restart()
            stage.answered(visitors, lab.portion)
        last = [line for line in flow.log.splitlines() if line.startswith("banditflow:")]
        folder = re.escape(str(disk.folder / "recovery" / PERSONALIZE.name))
        named = bool(last) and re.search(folder, last[-1]) is not None
        found.that(
            "the flow stops",
            "status 75, naming the folder",
            f"status {status}: {last[-1:]}",
            status == 75 and named,
        )
        found.exactly("the last snapshot is as it was", True, same)
        judge(found, stage, flow)
        persist.stop()
