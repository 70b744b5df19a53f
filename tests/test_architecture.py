"""The tree is the architecture: imports run flows → operators → schemas, and logic is pure."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = ["schemas", "operators", "flows"]
IMPURE = {
    "bytewax", "confluent_kafka", "redis", "oracledb", "sqlite3", "prometheus_client",
    "socket", "subprocess", "threading", "multiprocessing", "asyncio", "os", "time",
    "random", "secrets", "pathlib", "logging", "rich",
}  # fmt: skip
SOURCES = [path for layer in LAYERS for path in sorted((ROOT / layer).rglob("*.py"))]


def imports(path: Path) -> set[str]:
    """Every module that a file imports, dotted."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_imports_run_one_way(path: Path) -> None:
    layer = LAYERS.index(relative(path).split("/")[0])
    above = [*LAYERS[layer + 1 :], "ops", "tests"]
    wrong = sorted(name for name in imports(path) if name.split(".")[0] in above)
    assert not wrong, f"{relative(path)} imports {wrong}"


@pytest.mark.parametrize("path", sorted((ROOT / "operators/logic").rglob("*.py")), ids=relative)
def test_logic_is_pure(path: Path) -> None:
    names = imports(path)
    impure = sorted(name for name in names if name.split(".")[0] in IMPURE)
    assert not impure, f"{relative(path)} imports {impure}"
    outside = sorted(
        name
        for name in names
        if name.startswith("operators.")
        and not name.startswith(("operators.logic", "operators.envelope"))
    )
    assert not outside, f"{relative(path)} imports {outside}"
    text = path.read_text()
    for forbidden in ("np.random.seed", "np.random.rand", "datetime.now", "time.time"):
        assert forbidden not in text, f"{relative(path)} uses {forbidden}"


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_only_the_settings_read_the_environment(path: Path) -> None:
    if relative(path) == "schemas/settings.py":
        return
    reads = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"}
    ]
    assert not reads, f"{relative(path)} reads the environment at line {reads[0].lineno}"


def test_flow_modules_hold_no_dataflow() -> None:
    for path in (ROOT / "flows").rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            value = node.value if isinstance(node, ast.Assign) else None
            made = isinstance(value, ast.Call) and getattr(value.func, "id", "") == "Dataflow"
            assert not made, f"{relative(path)} makes a Dataflow at import"
