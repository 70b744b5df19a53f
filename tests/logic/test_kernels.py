"""Kernels: who loads them, where compiled code is kept, and what if it cannot be."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from numba.core import caching

from operators.logic.kernels.compiling import kernel

ROOT = Path(__file__).parents[2]
PROBABILITIES = """
import numpy as np
from operators.logic.deciding.quadrature import gaussian_probabilities
print(gaussian_probabilities(np.array([[0.1, 0.5, 0.2]]), np.full((1, 3), 0.3)).tobytes().hex())
"""


def start(program: str, **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def said(process: "subprocess.Popen[str]") -> str:
    out, errors = process.communicate()
    assert process.returncode == 0, errors
    assert not errors
    return out.strip()


def test_commands_and_flows_do_not_load_numba_by_being_imported() -> None:
    program = "import sys, flows.cli.main, flows.personalize, flows.persist, flows.runtime.runner"
    assert said(start(f"{program}; print('numba' in sys.modules)")) == "False"


def test_processes_that_start_at_once_without_a_cache_come_to_the_same(tmp_path: Path) -> None:
    folder = str(tmp_path / "cache")
    together = [start(PROBABILITIES, NUMBA_CACHE_DIR=folder) for _ in range(2)]
    results = {said(process) for process in together}
    assert len(results) == 1
    assert len(list(Path(folder).rglob("*.nbc"))) == 1
    assert {said(start(PROBABILITIES, NUMBA_CACHE_DIR=folder))} == results


def test_where_no_cache_can_be_written_kernels_are_compiled_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])

    @kernel("int64(int64)")
    def double(number: int) -> int:
        return 2 * number

    assert double(21) == 42
