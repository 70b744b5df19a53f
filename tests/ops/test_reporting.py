"""Every report says on what Python its figures were measured, printed and in JSON."""

import json
from pathlib import Path
from typing import Any

import pytest

from ops.benchmarks.reporting import judged
from ops.benchmarks.reporting.judged import JudgedBar
from ops.benchmarks.reporting.machine import machine, machine_line
from ops.benchmarks.speed.report import Bar, Report

BENCHMARKS = Path(__file__).parents[2] / "ops/benchmarks"


@pytest.fixture(autouse=True)
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(judged, "RESULTS", tmp_path)
    return tmp_path


def test_a_campaign_says_how_python_was_built(results: Path, capsys: Any) -> None:
    bars = [JudgedBar("lost", "0", "0", True), JudgedBar("twice", "0", "1", False)]
    assert judged.report("proof", "A proof", bars, rate=3) == 1
    _says_the_build(capsys.readouterr().out, json.loads((results / "proof.json").read_text()))


def test_a_speed_benchmark_says_how_python_was_built(results: Path, capsys: Any) -> None:
    report = Report("speed", ("row", "µs"), rows=[("one", 1.0)], bars=[Bar("one", "≤", 2.0, 1.0)])
    assert report.finish() == 0
    document = json.loads((results / "speed.json").read_text())
    _says_the_build(capsys.readouterr().out, document)
    assert document["rows"] == [["one", 1.0]]


def _says_the_build(printed: str, document: dict[str, Any]) -> None:
    words = " ".join(printed.split())
    for name in ("python", "build", "compiler", "flags"):
        value = machine()[name]
        assert f"{name} {value}" in words
        assert document["machine"][name] == value
    assert document["commit"]


def test_the_line_names_the_build() -> None:
    assert f"build {machine()['build']}" in machine_line()


@pytest.mark.parametrize(
    "command",
    [*BENCHMARKS.glob("*.py"), *BENCHMARKS.glob("campaigns/*.py")],
    ids=lambda command: command.stem,
)
def test_every_benchmark_writes_its_result_through_a_report(command: Path) -> None:
    text = command.read_text()
    assert "reporting.judged import" in text or "speed.report import" in text
    assert "write_text(json" not in text, "else the machine is not beside the figures"
