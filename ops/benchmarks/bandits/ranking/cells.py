"""Finished tasks in a file of JSON lines, so that a run that broke off goes on where it stopped.

A line bears a digest of the task, of every source file that decides its figures and of the
libraries' versions: a figure of other code is never shown. A line that a kill tore is skipped.
"""

import hashlib
import json
import os
import platform
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from functools import cache
from multiprocessing import get_context
from pathlib import Path

from ops.benchmarks.bandits import cells
from ops.benchmarks.bandits.ranking.tasks import OURS, Row, Task, perform

ROWS = cells.ROOT / "ops/benchmarks/results/ranking-cells/rows.jsonl"

_HERE = "ops/benchmarks/bandits/ranking"
_COMMON = tuple(
    f"{_HERE}/{name}.py"
    for name in ("requests", "market", "news", "labels", "environments", "learners", "runner")
)
_RIVALS = (f"{_HERE}/vowpal.py",)
_OURS = (f"{_HERE}/ours*.py", "operators/logic/**/*.py")
_PACKAGES = ("numpy", "scikit-learn", "river")


def performed(tasks: Sequence[Task], jobs: int, path: Path = ROWS) -> Iterator[Row]:
    """Give each task's row as it is there: first what the file holds, then what ``jobs`` run."""
    digests = {task: digest(task) for task in tasks}
    kept = dict(read(path))
    missing = [task for task in digests if digests[task] not in kept]
    yield from (kept[digests[task]] for task in digests if digests[task] in kept)
    if not missing:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(jobs, mp_context=get_context("fork")) as pool:
        waiting = {pool.submit(perform, task): task for task in missing}
        try:
            for future in as_completed(waiting):
                row = future.result()
                _append(path, digests[waiting[future]], row)
                yield row
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # else all others are performed first
            raise


def read(path: Path) -> Iterator[tuple[str, Row]]:
    """Give the file's whole lines."""
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            found = json.loads(line)
        except ValueError:
            continue
        found["row"]["fractions"] = {int(k): v for k, v in found["row"]["fractions"].items()}
        yield found["digest"], Row(**found["row"])


def _append(path: Path, key: str, row: Row) -> None:
    """Add a line in one write, after a line's end even where a kill tore the last one."""
    line = json.dumps({"digest": key, "row": asdict(row)})
    with path.open("ab") as file:
        file.write(f"\n{line}\n".encode())
        file.flush()
        os.fsync(file.fileno())


def digest(task: Task) -> str:
    """Give what a task's row is kept under."""
    ours = task.learner in OURS
    packages = (
        *_PACKAGES,
        *(["vowpalwabbit"] if task.setting else []),
        *(["numba"] if ours else []),
    )
    seen = [
        asdict(task), _sources(ours, task.setting is not None), platform.python_version(),
        *(f"{name} {cells.version_of(name)}" for name in packages),
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(seen).encode()).hexdigest()[:24]


@cache
def _sources(ours: bool, rival: bool) -> str:
    return cells.digest_of(*_COMMON, *(_OURS if ours else ()), *(_RIVALS if rival else ()))
