"""The tree is the architecture: what each room may import, without exceptions and circles."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from flows.registry import FLOWS

ROOT = Path(__file__).parent.parent
LAYERS = ["schemas", "operators", "flows"]
IMPURE = {
    "bytewax", "confluent_kafka", "redis", "oracledb", "sqlite3", "prometheus_client",
    "socket", "subprocess", "threading", "multiprocessing", "asyncio", "os", "time",
    "random", "secrets", "pathlib", "logging", "rich",
}  # fmt: skip
SOURCES = [path for layer in LAYERS for path in sorted((ROOT / layer).rglob("*.py"))]

FLOW_ROOMS = ["", "runtime", "verification", "replay", "reports", "edge", "devkit", "cli"]
"""The rooms of flows/: each imports those before it, never one behind. The first is flows/ itself:
the flows' modules, their registry and their wiring."""

ROOMS = {
    "schemas": {""},
    "operators": {"", "decide", "logic", "io"},
    "operators/logic": {
        "", "attribution", "deciding", "features", "kernels", "policies", "models", "subjects",
        "experiments", "delivery", "journeys", "variants", "state",
    },
    "operators/io": {"", "kafka", "redis", "store", "channels", "metrics"},
    "flows": set(FLOW_ROOMS),
}  # fmt: skip
"""The rooms that there are: ``docs/explanation/the-tree.md`` says what each holds."""


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def modules_of(node: ast.AST) -> Iterator[str]:
    """Give the modules that a statement imports: of ``from a import b`` it is a.b, if that is one.

    Imports from a package's ``__init__`` are of that package.
    """
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.module, "imports name the whole path"
        assert not node.level, "imports name the whole path"
        for alias in node.names:
            inner = f"{node.module}.{alias.name}"
            yield inner if inner in MODULES else node.module


def imports(path: Path) -> set[str]:
    """Every module that a file imports, wherever in the file."""
    return {name for node in ast.walk(parsed(path)) for name in modules_of(node)}


def imports_at_import(path: Path) -> set[str]:
    """Every module that a file imports outside functions, for type checks included."""
    found: set[str] = set()
    waiting: list[ast.AST] = [parsed(path)]
    while waiting:
        node = waiting.pop()
        found |= set(modules_of(node))
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)
    return found


MODULES = {dotted(path): path for path in SOURCES}
"""Every file by the name by which it is imported; a package by its own name."""


def is_in(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def room_of(name: str) -> str:
    """Give the room of a module of flows; ``python -m flows`` is the command line."""
    if name == "flows.__main__":
        return "cli"
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and (ROOT / "flows" / parts[1]).is_dir() else ""


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_imports_run_one_way(path: Path) -> None:
    layer = LAYERS.index(relative(path).split("/")[0])
    above = [*LAYERS[layer + 1 :], "ops", "tests"]
    wrong = sorted(name for name in imports(path) if is_in(name, *above))
    assert not wrong, f"{relative(path)} imports {wrong}"


@pytest.mark.parametrize("path", sorted((ROOT / "operators/logic").rglob("*.py")), ids=relative)
def test_logic_is_pure(path: Path) -> None:
    names = imports(path)
    impure = sorted(name for name in names if name.split(".")[0] in IMPURE)
    assert not impure, f"{relative(path)} imports {impure}"
    inside = ("operators.logic", "operators.envelope")
    outside = sorted(n for n in names if is_in(n, "operators") and not is_in(n, *inside))
    assert not outside, f"{relative(path)} imports {outside}"
    text = path.read_text()
    for forbidden in ("np.random.seed", "np.random.rand", "datetime.now", "time.time"):
        assert forbidden not in text, f"{relative(path)} uses {forbidden}"


KERNELS = "operators.logic.kernels"
KERNEL_FILES = sorted((ROOT / "operators/logic/kernels").glob("*.py"))
OF_KERNELS = {f"{KERNELS}.compiling", "collections.abc", "math", "numba", "numpy", "typing"}
"""What a kernel's file may import."""


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_only_kernels_load_numba_and_others_load_kernels_when_they_compute(path: Path) -> None:
    name = dotted(path)
    if is_in(name, KERNELS) and name != KERNELS:
        return
    assert not [each for each in imports(path) if is_in(each, "numba", "llvmlite")]
    early = sorted(n for n in imports_at_import(path) if is_in(n, KERNELS) and n != KERNELS)
    assert not early, f"{relative(path)} imports {early} outside functions"


@pytest.mark.parametrize("path", KERNEL_FILES, ids=relative)
def test_a_kernel_is_one_file(path: Path) -> None:
    """The cache of compiled code does not notice that another file has changed."""
    strange = imports_at_import(path) - OF_KERNELS
    assert not strange, f"{relative(path)} imports {sorted(strange)}"


def test_the_envelope_knows_records_only() -> None:
    names = imports(ROOT / "operators" / "envelope.py")
    assert not sorted(name for name in names if is_in(name, "operators", "flows"))


@pytest.mark.parametrize("path", sorted((ROOT / "operators/io").rglob("*.py")), ids=relative)
def test_io_knows_no_stream_operator(path: Path) -> None:
    inside = ("operators.io", "operators.logic", "operators.envelope")
    outside = sorted(n for n in imports(path) if is_in(n, "operators") and not is_in(n, *inside))
    assert not outside, f"{relative(path)} imports {outside}"


@pytest.mark.parametrize("path", sorted((ROOT / "flows").rglob("*.py")), ids=relative)
def test_rooms_of_flows_import_in_one_direction(path: Path) -> None:
    place = FLOW_ROOMS.index(room_of(dotted(path)))
    behind = [
        name
        for name in sorted(imports(path))
        if is_in(name, "flows") and FLOW_ROOMS.index(room_of(name)) > place
    ]
    assert not behind, f"{relative(path)} imports {behind}"


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_only_commands_load_the_development_kit_and_only_when_they_run(path: Path) -> None:
    name = dotted(path)
    if is_in(name, "flows.devkit"):
        return
    loaded = imports_at_import(path) if is_in(name, "flows.cli") else imports(path)
    wrong = sorted(module for module in loaded if is_in(module, "flows.devkit"))
    assert not wrong, f"{relative(path)} imports {wrong}"


def test_no_files_import_each_other_in_a_circle() -> None:
    """Follow what importing a file imports: other files, and the packages around those."""
    needs = {name: sorted(_needed(name, path)) for name, path in MODULES.items()}
    done: set[str] = set()

    def walk(name: str, above: tuple[str, ...]) -> None:
        if name in above:
            circle = [*above[above.index(name) :], name]
            raise AssertionError(f"files import each other in a circle: {' → '.join(circle)}")
        if name in done:
            return
        for other in needs[name]:
            walk(other, (*above, name))
        done.add(name)

    for name in needs:
        walk(name, ())


def _needed(name: str, path: Path) -> set[str]:
    """Give the files that a file needs; that it lies in a package is no import of that package."""
    needed: set[str] = set()
    for module in imports_at_import(path):
        parts = module.split(".")
        around = {".".join(parts[:length]) for length in range(1, len(parts))}
        needed |= {module} | {package for package in around if not is_in(name, package)}
    return needed & MODULES.keys()


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_only_the_settings_read_the_environment(path: Path) -> None:
    if relative(path) == "schemas/settings.py":
        return
    reads = [
        node
        for node in ast.walk(parsed(path))
        if (isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"})
        or (isinstance(node, ast.alias) and node.name in {"environ", "getenv"})
    ]
    assert not reads, f"{relative(path)} reads the environment at line {reads[0].lineno}"


def test_flow_modules_hold_no_dataflow() -> None:
    for path in (ROOT / "flows").rglob("*.py"):
        for node in parsed(path).body:
            value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
            made = isinstance(value, ast.Call) and getattr(value.func, "id", "") == "Dataflow"
            assert not made, f"{relative(path)} makes a Dataflow at import"


@pytest.mark.parametrize("folder", ROOMS)
def test_every_file_lies_in_a_known_room(folder: str) -> None:
    top = ROOT / folder
    rooms = {path.relative_to(top).parts[:-1] for path in top.rglob("*.py")}
    strange = {parts[0] for parts in rooms if parts} - ROOMS[folder]
    assert not strange, f"{folder}: no room is called {sorted(strange)}"


def test_beside_their_rooms_flows_holds_the_flows_their_registry_and_wiring() -> None:
    here = {path.stem for path in (ROOT / "flows").glob("*.py")}
    assert here == {"__init__", "__main__", "registry", "wiring", *FLOWS}
