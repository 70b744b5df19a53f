"""Look for counter-examples to the tests' properties that no run of the suite has tried.

The suite tries the same examples in every run. Here each round draws new ones, by a seed of its
own; the properties' tests run as they are, but for their examples.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from ops.benchmarks.reporting.judged import JudgedBar, report

TESTS = Path("tests")


def main() -> None:
    """Run the rounds, print one table and write it as JSON; fail when a property failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="runs of all properties (10)")
    parser.add_argument("--seed", type=int, default=1, help="of the first round (1)")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="one round")
    options = parser.parse_args()
    rounds = 1 if options.quick else options.rounds
    seeds = range(options.seed, options.seed + rounds)
    bars = [_round(seed, options.processes) for seed in seeds]
    sys.exit(1 if report("properties", "New examples for the tests' properties", bars) else 0)


def _round(seed: int, processes: int) -> JudgedBar:
    """Run every file with properties on examples by this seed."""
    files = sorted(
        str(path) for path in TESTS.rglob("test_*.py") if "from hypothesis" in path.read_text()
    )
    chosen = ["--hypothesis-profile=new-examples", f"--hypothesis-seed={seed}"]
    workers = [f"--numprocesses={processes}", "--dist=loadfile"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *workers, *chosen, *files],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    closing = done.stdout.strip().splitlines()[-1]
    if done.returncode:
        sys.stderr.write(done.stdout)
    return JudgedBar(f"properties, seed {seed}", "all hold", closing, done.returncode == 0)


if __name__ == "__main__":
    main()
