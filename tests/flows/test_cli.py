"""The command line: help that teaches, errors that name what to set, exit codes."""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flows.cli.main import main, parser
from flows.devkit.embedded import Server
from flows.registry import FLOWS
from schemas.settings import PREFIX

ROOT = Path(__file__).parents[2]
SECRET = "sixteen letters!"
HIDDEN = {"worker"}


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Only what a test sets is set, and what a command leaves behind lies in its own folder."""
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def children(of: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in of._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def commands() -> dict[str, argparse.ArgumentParser]:
    found: dict[str, argparse.ArgumentParser] = {"": parser()}
    for name, command in children(parser()).items():
        if name not in HIDDEN:
            found[name] = command
            found |= {f"{name} {kind}": inner for kind, inner in children(command).items()}
    return found


def failure(capsys: Any, *arguments: str) -> str:
    """Run a command that fails with one sentence, and give the sentence."""
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("banditflow: ")
    assert captured.err.count("\n") == 1
    return str(captured.err)


@pytest.mark.parametrize("name", commands())
def test_every_command_says_what_it_is_for(name: str) -> None:
    command = commands()[name]
    assert command.description
    for action in command._actions:
        if not isinstance(action, argparse._SubParsersAction) and action.dest != "arrivals":
            assert action.help or action.metavar, f"{name}: {action.dest} has no help"


def test_the_first_page_leads_to_the_demo_and_to_a_real_deployment(capsys: Any) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    page = capsys.readouterr().out
    for said in ("banditflow demo", "topics create", "run personalize", "BANDITFLOW_SECRET"):
        assert said in page
    for name in commands():
        assert name.split(" ")[0] in page
    assert not [name for name in HIDDEN if f"    {name} " in page]


@pytest.mark.parametrize(
    "arguments", [[], ["fly"], ["run", "optimise"], ["inspect"], ["topics", "delete"]]
)
def test_a_wrong_command_ends_with_2_and_what_there_is(arguments: list[str], capsys: Any) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: banditflow" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "personalize"],
        ["run", "persist", "--processes", "2"],
        ["topics", "create"],
        ["store", "migrate"],
        ["simulate"],
        ["inspect", "slot", "home"],
    ],
)
def test_without_a_secret_each_command_names_the_variable(
    arguments: list[str], capsys: Any
) -> None:
    assert "BANDITFLOW_SECRET is not set" in failure(capsys, *arguments)


@pytest.mark.parametrize(
    ("variable", "value", "arguments"),
    [
        ("STORE", "mysql:shop", ["store", "status"]),
        ("STORE", "sqlite:nowhere/store.db", ["store", "migrate"]),
        ("EPOCH", "soon", ["run", "personalize"]),
        ("REDIS_URL", "http://cache", ["inspect", "slot", "home"]),
    ],
)
def test_a_wrong_setting_is_named(
    variable: str,
    value: str,
    arguments: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    monkeypatch.setenv("BANDITFLOW_SECRET", SECRET)
    if arguments[0] == "inspect":
        assert main(["store", "migrate"]) == 0
        capsys.readouterr()
    monkeypatch.setenv(f"BANDITFLOW_{variable}", value)
    assert f"BANDITFLOW_{variable}" in failure(capsys, *arguments)


def test_store_commands_end_with_0(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("BANDITFLOW_SECRET", SECRET)
    assert main(["store", "migrate"]) == 0
    assert main(["store", "status"]) == 0
    assert "applied" in capsys.readouterr().out
    assert Path("banditflow.db").exists()


def test_an_error_of_the_program_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not foreseen is a bug, and its place matters."""

    def broken(_: object) -> list[str]:
        raise ZeroDivisionError

    monkeypatch.setenv("BANDITFLOW_SECRET", SECRET)
    monkeypatch.setattr("flows.cli.store.status_lines", broken)
    with pytest.raises(ZeroDivisionError):
        main(["store", "status"])


def test_ctrl_c_ends_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: object) -> list[str]:
        raise KeyboardInterrupt

    monkeypatch.setenv("BANDITFLOW_SECRET", SECRET)
    monkeypatch.setattr("flows.cli.store.status_lines", interrupted)
    assert main(["store", "status"]) == 130


def test_an_error_that_was_wrapped_on_its_way_is_still_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    from flows.runtime.recovery import RecoveryError

    def wrapped(_: object) -> list[str]:
        raise RuntimeError("error building step") from RecoveryError("the store is in use")

    monkeypatch.setenv("BANDITFLOW_SECRET", SECRET)
    monkeypatch.setattr("flows.cli.store.status_lines", wrapped)
    assert failure(capsys, "store", "status") == "banditflow: the store is in use\n"


def test_the_module_is_the_command() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "flows", "store", "status"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith("banditflow: BANDITFLOW_SECRET is not set")


def test_help_imports_nothing_heavy() -> None:
    """Help is there at once: numerics take seconds to import."""
    program = "import sys, flows.cli.main as m; m.parser(''); print(*sorted(sys.modules))"
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not {"numpy", "scipy", "river", "bytewax", "rich"} & set(ended.stdout.split())


def test_a_reader_that_has_had_enough_is_no_error(tmp_path: Path) -> None:
    """``banditflow inspect … | head``: no traceback when the pipe is closed."""
    environment = {"PATH": os.environ["PATH"], "BANDITFLOW_SECRET": SECRET}
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "flows", "store", "migrate"]
    ended = subprocess.run(
        command,
        cwd=ROOT,
        env=environment | {"BANDITFLOW_STORE": f"sqlite:{tmp_path}/store.db"},
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (141, "")


@pytest.mark.parametrize("flow", FLOWS)
def test_a_flow_without_its_topics_says_how_to_make_them(
    flow: str, broker: Server, topic_prefix: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("BANDITFLOW_SECRET", SECRET)
    monkeypatch.setenv("BANDITFLOW_BOOTSTRAP_SERVERS", broker.address)
    monkeypatch.setenv("BANDITFLOW_TOPIC_PREFIX", topic_prefix)
    monkeypatch.setenv("BANDITFLOW_RECOVERY", "recovery")
    assert main(["store", "migrate"]) == 0
    capsys.readouterr()
    said = failure(capsys, "run", flow)
    assert f"'{topic_prefix}" in said
    assert "banditflow topics create" in said
    assert not Path("recovery").exists()
