"""ops/ci/choose_python: an optimised Python first, unless $PYTHON names one."""

import subprocess
from pathlib import Path

import pytest

from ops.ci.python_build import build, optimised

CHOOSER = Path(__file__).parents[2] / "ops/ci/choose_python"


def interpreter(folder: Path, name: str, word: str | None) -> str:
    """A fake one that says the word about itself; None: of a version that does not fit."""
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(f"#!/bin/sh\n{'exit 1' if word is None else f'echo {word}'}\n")
    file.chmod(0o755)
    return str(file)


def chosen(*folders: Path, python: str | None = None) -> subprocess.CompletedProcess[str]:
    path = ":".join(map(str, folders)) + ":/nowhere"
    environment = {"PATH": path} if python is None else {"PATH": path, "PYTHON": python}
    return subprocess.run([CHOOSER], env=environment, capture_output=True, text=True, check=False)


def test_an_optimised_build_is_preferred_wherever_it_is(tmp_path: Path) -> None:
    interpreter(tmp_path / "one", "python3.12", None)
    interpreter(tmp_path / "one", "python3.11", "plain")
    wanted = interpreter(tmp_path / "two words", "python3.11", "optimised")
    assert chosen(tmp_path / "one", tmp_path / "two words").stdout.strip() == wanted


def test_the_newest_of_several_optimised_ones(tmp_path: Path) -> None:
    interpreter(tmp_path / "one", "python3.11", "optimised")
    wanted = interpreter(tmp_path / "two", "python3.12", "optimised")
    assert chosen(tmp_path / "one", tmp_path / "two").stdout.strip() == wanted


def test_without_an_optimised_one_the_first_that_makes_environments(tmp_path: Path) -> None:
    interpreter(tmp_path / "one", "python3.12", "no-venv")
    wanted = interpreter(tmp_path / "two", "python3", "plain")
    interpreter(tmp_path / "two", "python", "plain")
    assert chosen(tmp_path / "one", tmp_path / "two").stdout.strip() == wanted


def test_one_that_cannot_make_environments_is_better_than_none(tmp_path: Path) -> None:
    wanted = interpreter(tmp_path / "one", "python3", "no-venv")
    assert chosen(tmp_path / "one").stdout.strip() == wanted


def test_what_is_named_wins(tmp_path: Path) -> None:
    interpreter(tmp_path / "one", "python3.12", "optimised")
    named = interpreter(tmp_path / "two", "python3.11", "plain")
    assert chosen(tmp_path / "one", python=named).stdout.strip() == named


@pytest.mark.parametrize("python", [None, "python3.9 /nowhere/python"])
def test_where_none_fits_it_says_what_to_do(python: str | None, tmp_path: Path) -> None:
    interpreter(tmp_path / "one", "python3.12", None)
    found = chosen(tmp_path / "one", python=python)
    assert found.returncode == 1
    assert found.stdout == ""
    assert "is Python 3.11 or 3.12" in found.stderr
    assert (python or "python3.12 python3.11") in found.stderr


def test_the_python_of_the_tests_is_described() -> None:
    said = build()
    assert said["build"] in ("optimised", "plain, not optimised")
    assert "-O" in said["flags"]


def test_builds_are_told_apart() -> None:
    plain = {"CONFIG_ARGS": "'--enable-shared'", "PGO_PROF_USE_FLAG": "-fprofile-use"}
    assert not optimised(plain | {"PY_CFLAGS": "-O3"})
    assert optimised(plain | {"CONFIG_ARGS": "'--enable-optimizations'"})
    assert optimised(plain | {"PY_CFLAGS_NODIST": "-O3 -fprofile-use"})
    assert optimised(plain | {"PGO_PROF_USE_FLAG": ""}), "Debian takes the flag out"
    assert not optimised({})
