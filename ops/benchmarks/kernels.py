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
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from operators.logic.deciding.quadrature import gaussian_probabilities
from operators.logic.features.auto import ActionEncodings, AutoEncoder, SparseFeatures
from operators.logic.features.crossing import Crossing, Workspace, crossed
from operators.logic.kernels import load_kernels
from ops.benchmarks.reporting.judged import JudgedBar, report
from schemas.catalog import AutoFeatures

SIZES = [(10, 1), (10, 13), (10, 100), (10, 1000), (100, 1), (100, 100), (1000, 1), (1000, 13)]
"""Actions and requests of a batch."""

RATIO = 3.0
"""Widths of a request's posteriors differ by up to this."""

LIMIT = 2.0
"""Microseconds of CPU per request with ten actions."""

CANDIDATES, FEATURES = 20, 30
"""Of a decision whose features are crossed: actions, and features of the context and of each."""

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
    calls = max(1, 20_000 // requests // actions)
    return best(lambda: gaussian_probabilities(mean, deviation), calls, seconds) / requests


def best(call: Callable[[], object], calls: int, seconds: float) -> float:
    """Give CPU microseconds of a call: the best of seven rounds, looking at the clock now and then.

    A round takes a seventh of ``seconds``.
    """
    rounds = []
    for _ in range(7):
        count, start = 0, time.process_time()
        while time.process_time() - start < seconds / 7:
            for _ in range(calls):
                call()
            count += calls
        rounds.append((time.process_time() - start) / count * 1e6)
    return min(rounds)


def crossings(seconds: float) -> Iterator[tuple[str, float]]:
    """Give CPU microseconds per decision of crossing, and of encoding what is crossed."""
    settings = AutoFeatures()
    encoder, crossing, workspace = AutoEncoder(settings), Crossing(settings), Workspace()
    contexts = [_features("user", number) for number in range(100)]
    actions = [_features("article", number) for number in range(100 * CANDIDATES)]
    encoded = [encoder.encode(context) for context in contexts]
    items = [encoder.encode(action) for action in actions]
    for decisions in (1, 13, 100):
        some, many = encoded[:decisions], items[: decisions * CANDIDATES]
        lists = [many[start : start + CANDIDATES] for start in range(0, len(many), CANDIDATES)]
        cross = partial(_cross, crossing, some, lists, workspace)
        spent = best(cross, 1, seconds)
        yield f"crossing, {decisions} decisions a call", spent / decisions
    turn = iter(range(10**12))
    encode = lambda: encoder.encode(actions[next(turn) % len(actions)])  # noqa: E731
    yield "encoding of one action that is new", best(encode, 10, seconds)
    known = ActionEncodings(encoder, 2**24)
    encode = lambda: known.encode(actions[next(turn) % len(actions)])  # noqa: E731
    yield "encoding of one action that is known", best(encode, 10, seconds)


def _cross(
    crossing: Crossing,
    contexts: Sequence[SparseFeatures],
    candidates: Sequence[Sequence[SparseFeatures]],
    workspace: Workspace,
) -> None:
    crossed(crossing.operands(contexts, candidates), workspace)


def _features(namespace: str, number: int) -> Any:
    """Make a third numbers, and texts of which others have some, too."""
    texts = {f"text{place}": f"value {number % (3 + place)}" for place in range(FEATURES * 2 // 3)}
    numbers = {f"number{place}": 1.5 + number + place for place in range(FEATURES // 3)}
    return {namespace: texts | numbers}


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
    for name, spent in crossings(seconds):
        name = f"{name}, {CANDIDATES} actions, {FEATURES} × {FEATURES} features: CPU"
        bars.append(JudgedBar(name, "-", f"{spent:.1f} µs", None))
    with tempfile.TemporaryDirectory() as folder:
        for cache in ("empty", "full"):
            imported, loaded, memory = start(folder)
            figure = f"{imported:.2f} + {loaded:.2f} s, {memory:.0f} MB"
            name = f"import of numba, then kernels with the cache {cache}: CPU and private memory"
            bars.append(JudgedBar(name, "-", figure, None))
    return report("kernels", "Compiled kernels", bars)


if __name__ == "__main__":
    sys.exit(main())
