"""Time and metrics are handed in: no operator asks this machine for them."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = [path for layer in ("schemas", "operators") for path in (ROOT / layer).rglob("*.py")]
WALL_CLOCK = {
    "datetime.now", "datetime.utcnow", "datetime.today", "date.today", "time.time", "time.time_ns",
}  # fmt: skip
STOPWATCH = {
    "time.monotonic", "time.monotonic_ns", "time.perf_counter", "time.perf_counter_ns",
    "time.process_time",
}  # fmt: skip
"""What only tells how long something takes, or for how long to wait for the outside."""
METRICS = {"Counter", "Gauge", "Histogram", "Summary", "Info", "Enum"}


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def named(path: Path) -> set[str]:
    """Every dotted pair and every imported member that a file names."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            names.add(f"{node.value.id}.{node.attr}")
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def prometheus_calls(path: Path) -> Iterator[ast.Call]:
    """Every call that makes a Prometheus metric."""
    tree = ast.parse(path.read_text())
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "prometheus_client"
        for alias in node.names
        if alias.name in METRICS
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in imported:
            yield node


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_the_time_of_day_comes_from_a_clock_that_is_handed_in(path: Path) -> None:
    assert not named(path) & WALL_CLOCK


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_only_what_meets_the_outside_measures_how_long_it_waits(path: Path) -> None:
    if not relative(path).startswith("operators/io/") and relative(path) != "operators/persist.py":
        assert not named(path) & STOPWATCH


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_metrics_are_made_on_a_registry_that_is_handed_in(path: Path) -> None:
    assert "prometheus_client.REGISTRY" not in named(path)
    assert "prometheus_client.registry.REGISTRY" not in named(path)
    for call in prometheus_calls(path):
        assert "registry" in {keyword.arg for keyword in call.keywords}
