"""What a figure depends on: the processor, how Python was built, the packages, the commit."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ops.ci.python_build import build

ROOT = Path(__file__).parents[3]
RESULTS = ROOT / "ops/benchmarks/results"
PACKAGES = ("bytewax", "confluent-kafka", "msgspec", "numpy", "orjson", "redis", "river", "scipy")


def machine() -> dict[str, str]:
    """Give the processor, the cores, the build of Python and the versions of packages."""
    found = {"processor": _processor(), "cores": str(os.cpu_count()), **build()}
    return found | {name: version(name) for name in PACKAGES}


def machine_line() -> str:
    """Say the same, without packages, in a line.

    >>> machine_line().split(", ")[-1].startswith("flags ")
    True
    """
    return ", ".join(
        f"{name} {value}" for name, value in {"processor": _processor(), **build()}.items()
    )


def circumstances() -> dict[str, Any]:
    """Give what the JSON of every result says first: the commit and the machine."""
    return {"commit": commit(), "machine": machine()}


def commit(folder: Path = ROOT) -> str:
    """Give the commit of a checkout, marked where the work tree holds changes beside it."""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--exclude=*"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.split(":")[1].strip() for line in lines if "model name" in line), "unknown")
