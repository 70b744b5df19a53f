"""Measure compiled kernels: what a request costs, and what loading and compiling them costs.

Prints CPU and resident memory, and writes them under ``ops/benchmarks/results/``.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

import numpy as np

from operators.logic.deciding.quadrature import gaussian_probabilities
from operators.logic.kernels import load_kernels
from ops.benchmarks.reporting.judged import JudgedBar, report

SIZES = [(10, 1), (10, 13), (10, 100), (10, 1000), (100, 1), (100, 100), (1000, 1), (1000, 13)]
"""Actions and requests of a batch."""

RATIO = 3.0
"""Widths of a request's posteriors differ by up to this."""

LIMIT = 2.0
"""Microseconds of CPU per request with ten actions."""

_START = """
import json, time
from pathlib import Path

def resident() -> float:
    lines = Path("/proc/self/status").read_text().splitlines() if Path("/proc").is_dir() else []
    return sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1e3

import flows.cli.main, flows.personalize
cpu, memory = time.process_time(), resident()
import numba
imported = time.process_time()
from operators.logic.kernels import load_kernels
load_kernels()
print(json.dumps([imported - cpu, time.process_time() - imported, resident() - memory]))
"""


def cost(actions: int, requests: int, seconds: float) -> float:
    """Give CPU microseconds per request: the best of seven rounds."""
    rng = np.random.default_rng([actions, requests])
    deviation = 0.05 * np.exp(rng.uniform(0.0, np.log(RATIO), (requests, actions)))
    mean = rng.normal(size=deviation.shape) * deviation.mean(axis=1, keepdims=True)
    rounds = []
    for _ in range(7):
        calls, start = 0, time.process_time()
        while time.process_time() - start < seconds / 7:
            for _ in range(max(1, 20_000 // requests // actions)):
                gaussian_probabilities(mean, deviation)
                calls += 1
        rounds.append((time.process_time() - start) / calls / requests * 1e6)
    return min(rounds)


def start(folder: str) -> list[float]:
    """Give seconds of importing numba and of loading kernels, and MB of private memory."""
    environment = os.environ | {"NUMBA_CACHE_DIR": folder}
    ended = subprocess.run(
        [sys.executable, "-c", _START], env=environment, capture_output=True, text=True, check=True
    )
    numbers: list[float] = json.loads(ended.stdout)
    return numbers


def main() -> int:
    """Measure and print one table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=float, default=3.0, help="per figure")
    arguments.add_argument("--quick", action="store_true", help="half a second per figure")
    options = arguments.parse_args()
    seconds = 0.5 if options.quick else options.seconds
    load_kernels()
    bars = []
    for actions, requests in SIZES:
        spent = cost(actions, requests, seconds)
        name = f"{actions} actions, {requests} requests a call: CPU per request"
        judged = actions == 10
        limit, passed = (f"<= {LIMIT:g} µs", spent <= LIMIT) if judged else ("-", None)
        bars.append(JudgedBar(name, limit, f"{spent:.2f} µs", passed))
    with tempfile.TemporaryDirectory() as folder:
        for cache in ("empty", "full"):
            imported, loaded, memory = start(folder)
            figure = f"{imported:.2f} + {loaded:.2f} s, {memory:.0f} MB"
            name = f"import of numba, then kernels with the cache {cache}: CPU and private memory"
            bars.append(JudgedBar(name, "-", figure, None))
    return report("kernels", "Compiled kernels", bars)


if __name__ == "__main__":
    sys.exit(main())
