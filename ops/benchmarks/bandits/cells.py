"""Finished tasks on disk, so that a run that broke off goes on where it stopped.

A cell is named by a digest of the task, of every source file that decides its figures and of the
libraries' versions: a figure of other code is never shown.
"""

import hashlib
import json
import os
import platform
from collections.abc import Iterator
from dataclasses import asdict
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ops.benchmarks.bandits.runner import Row
from ops.benchmarks.bandits.tasks import Task, perform

ROOT = Path(__file__).parents[3]
CELLS = ROOT / "ops/benchmarks/results/learning-cells"

_BANDITS = "ops/benchmarks/bandits"
_COMMON = (f"{_BANDITS}/environments.py", f"{_BANDITS}/runner.py", "flows/devkit/visitors.py")
_RIVALS = (f"{_BANDITS}/rivals.py",)
_OURS = (
    f"{_BANDITS}/ours.py",
    f"{_BANDITS}/tasks.py",
    "operators/logic/policies/*.py",
    "operators/logic/deciding/propensity.py",
    "operators/logic/deciding/quadrature.py",
    "operators/logic/kernels/*.py",
)
_PACKAGES = {
    "VW": "vowpalwabbit",
    "River": "river",
    "mabwiser": "mabwiser",
    "bayesianbandits": "bayesianbandits",
}


def performed(task: Task, folder: Path = CELLS) -> Row:
    """Run a task, or read what it measured before."""
    path = folder / f"{_digest(task)}.json"
    if path.exists():
        return _read(path)
    row = perform(task)
    folder.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}")
    part.write_text(json.dumps(asdict(row)))
    part.rename(path)
    return row


def _read(path: Path) -> Row:
    found = json.loads(path.read_text())
    found["fractions"] = {int(k): value for k, value in found["fractions"].items()}
    found["curve"] = [(events, value) for events, value in found["curve"]]
    return Row(**found)


def _digest(task: Task) -> str:
    whole = json.dumps([asdict(task), sources(task.library == "banditflow"), _versions(task)])
    return hashlib.sha256(whole.encode()).hexdigest()[:24]


@cache
def sources(ours: bool) -> str:
    """Give a digest of the code that decides the figures of our policies or the others'."""
    return digest_of(*_COMMON, *(_OURS if ours else _RIVALS))


def digest_of(*patterns: str) -> str:
    """Give a digest of source files, named by patterns from the root of the project."""
    digest = hashlib.sha256()
    for path in _files(*patterns):
        digest.update(f"{path.relative_to(ROOT)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def _files(*patterns: str) -> Iterator[Path]:
    for pattern in patterns:
        yield from sorted(ROOT.glob(pattern))


def _versions(task: Task) -> dict[str, str]:
    packages = {"numpy", "scipy"}
    packages |= {_PACKAGES[task.library]} if task.library in _PACKAGES else set()
    packages |= {"digits": {"scikit-learn"}, "segments": {"river"}}.get(task.environment, set())
    return {"python": platform.python_version()} | {
        name: version_of(name) for name in sorted(packages)
    }


def version_of(name: str) -> str:
    """Give an installed package's version, ``none`` where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"
