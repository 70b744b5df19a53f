"""Every setting with wrong values of many kinds, for every command that reads it: one sentence."""

import logging
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import cache
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from flows.cli.main import COMMANDS, main
from flows.devkit.embedded import Server
from flows.runtime import runner
from flows.runtime.recovery import make_store
from schemas.settings import PREFIX, TYPES, Group, Settings, SettingsError, load

SECRET = "sixteen letters!"
SOON = 3.0

READING: dict[str, tuple[str, ...]] = {
    "run personalize": ("run", "personalize"),
    "run persist": ("run", "persist"),
    "run --processes": ("run", "personalize", "--processes", "2"),
    "simulate": ("simulate", "--seconds", "0.01", "--rate", "1", "--patience", "0.01"),
    "topics create": ("topics", "create"),
    "catalog publish": ("catalog", "publish", "slot.jsonl"),
    "store migrate": ("store", "migrate"),
    "store status": ("store", "status"),
    "inspect slot": ("inspect", "slot", "home"),
    "inspect subject": ("inspect", "subject", "visitor"),
    "inspect decision": ("inspect", "decision", "d-1"),
    "inspect features": ("inspect", "features", "home"),
    "state": ("state",),
    "verify": ("verify",),
    "verify-replay": ("verify-replay", "--record", "log"),
    "worker": ("worker", "personalize"),
}
"""Commands that read settings, and how each is called."""

NEVER_READING = {"demo", "replay"}

USING = {
    "kafka": ("run personalize", "run persist", "topics create"),
    "redis": ("run personalize", "inspect slot"),
    "store": ("run persist", "store status", "inspect decision"),
    "time": ("run personalize",),
    "state": ("run personalize", "state"),
    "metrics": ("run personalize", "run --processes"),
}
"""Commands that use the settings of a group; another group is used by the first of them."""

LONG = "x" * 100_000
NUMBERS = {
    "nothing": "",
    "a word": "soon",
    "a list": "[1]",
    "below its range": "-1",
    "no number": "nan",
    "no end": "inf",
    "beyond floats": "1e999",
    "beyond integers": "9" * 400,
    "beyond Python's integers": "9" * 5000,
    "hexadecimal": "0x10",
    "a folder": "/",
    "long": LONG,
    "a control character": "1\x1b[31m",
    "a new line": "1\n2",
    "no UTF-8": "1\udcff",
}
"""What no number may be."""

TEXTS = {
    "long": LONG,
    "a control character": "unspoken\x1b[31m",
    "a new line": "unspoken\nunspoken",
    "no UTF-8": "unspoken\udcff",
    "a space around": " unspoken",
}
"""What no text may be; secrets may hold what a terminal would not."""

WORDS = {
    "nothing": "",
    "a word": "unspoken-word",
    "a folder": "folder",
    "a file": "file",
    "a file below a file": "file/below",
    "a long name": "x" * 300,
    "JSON": '{"unspoken": 1}',
}
"""What some texts may be and others not."""


class Ended(NamedTuple):
    status: int
    errors: str
    seconds: float


def group_of(name: str) -> str:
    """Find the field of Settings whose group holds a setting."""
    settings = Settings(secret=SECRET)
    for field in settings.__struct_fields__:
        group = getattr(settings, field)
        if isinstance(group, Group) and name in group.flat():
            return str(field)
    return ""


@pytest.fixture(scope="module")
def home(
    broker: Server, valkey: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """A folder in which everything is as it should be, and a deployment."""
    folder = tmp_path_factory.mktemp("home")
    before = Path.cwd()
    os.chdir(folder)
    with pytest.MonkeyPatch.context() as environment:
        for name in [name for name in os.environ if name.startswith(PREFIX)]:
            environment.delenv(name)
        for name, value in {
            "SECRET": SECRET,
            "BOOTSTRAP_SERVERS": broker.address,
            "REDIS_URL": f"redis://{valkey.address}/0",
            "TOPIC_PREFIX": "wrong-settings-",
            "PARTITIONS": "1",
            "RECOVERY": "recovery",
            "METRICS_PORT": "0",
        }.items():
            environment.setenv(f"{PREFIX}{name}", value)
        environment.setattr(runner, "run", started)
        environment.setattr(runner, "supervise", started)
        environment.setattr(runner, "work", started)
        (folder / "folder").mkdir()
        (folder / "file").write_text("no database, no certificate, no folder")
        (folder / "slot.jsonl").write_text(
            '{"type": "slot", "id": "s", "time": "2026-01-01T00:00:00Z", "slot_id": "home"}\n'
        )
        (folder / "recovery" / "personalize").mkdir(parents=True)
        make_store(folder / "recovery" / "personalize")
        assert main(["topics", "create"]) == main(["store", "migrate"]) == 0
        yield folder
    os.chdir(before)


def started(*_: Any) -> None:
    """Take the place of Bytewax: nothing was refused before it."""


@pytest.fixture
def ended(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a command with one setting changed."""

    def run(command: str, name: str, value: str) -> Ended:
        capsys.readouterr()
        began = time.monotonic()
        with monkeypatch.context() as changed:
            changed.setitem(os.environ, f"{PREFIX}{name.upper()}", value)
            status = main(READING[command])
        said = capsys.readouterr().err.splitlines(keepends=True)
        without_notes = "".join(line for line in said if " has no effect with" not in line)
        return Ended(status, without_notes, time.monotonic() - began)

    logging.getLogger("banditflow").handlers.clear()
    return run


@pytest.fixture
def as_it_is(ended: Any) -> Callable[[str], tuple[int, str]]:
    """Say how a command ends, and with which words, where nothing is wrong."""

    @cache
    def run(command: str) -> tuple[int, str]:
        result = ended(command, "partitions", "1")
        return result.status, result.errors

    return run


def assert_refused(result: Ended, name: str, value: str) -> None:
    assert result.status in (2, 75), result
    assert result.errors.startswith("banditflow: "), result
    assert result.errors.count("\n") == 1, result
    assert f"{PREFIX}{name.upper()}" in result.errors, result
    assert_harmless(result, name, value)


def assert_harmless(result: Ended, name: str, value: str) -> None:
    assert not re.search(r"Traceback|panicked|[\x00-\x09\x0b-\x1f]", result.errors), result
    assert len(result.errors) < 1000, result
    assert result.seconds < SOON, result
    if name.endswith(("secret", "password")) and len(value) > 6:
        assert value not in result.errors


def test_every_command_is_walked() -> None:
    walked = {arguments[0] for arguments in READING.values()} - {"worker"}
    assert walked | NEVER_READING == set(COMMANDS)


def is_refused_at_once(name: str, value: str) -> bool:
    with_it = {f"{PREFIX}SECRET": SECRET, f"{PREFIX}{name.upper()}": value}
    try:
        load(with_it)
    except SettingsError:
        return True
    return False


@pytest.mark.parametrize("name", TYPES)
def test_a_value_that_no_such_setting_may_have_is_refused_by_every_command(
    name: str, ended: Any
) -> None:
    kind = TYPES[name]
    is_text = name == "secret" or kind in (str, dict[str, str])
    values = list((TEXTS if is_text else NUMBERS).values())
    if name.endswith(("secret", "password")):
        values = [LONG, TEXTS["no UTF-8"]]
    for value, command in zip(cycle(values), READING, strict=False):
        assert_refused(ended(command, name, value), name, value)


@pytest.mark.parametrize("name", [name for name in TYPES if name != "bootstrap_servers"])
def test_a_value_is_refused_or_the_command_does_its_work(
    name: str, ended: Any, as_it_is: Callable[[str], tuple[int, str]]
) -> None:
    for value in WORDS.values():
        commands = USING.get(group_of(name), ("run personalize",))
        for command in commands[:1] if is_refused_at_once(name, value) else commands:
            result = ended(command, name, value)
            if result.status == 0 or (result.status, result.errors) == as_it_is(command):
                assert_harmless(result, name, value)
            else:
                assert_refused(result, name, value)


REFUSED = {
    "recovery": (
        ["run personalize", "run --processes", "state"],
        ["file", "file/below", "folder/damaged", "folder/empty", "folder/locked", "x" * 300],
    ),
    "store": (
        ["run persist", "store status", "inspect slot"],
        ["sqlite:folder", "sqlite:file", "sqlite:nowhere/store.db", "sqlite:file/store.db",
         f"sqlite:{'x' * 300}", "sqlite:folder/../nowhere/x", "mysql:shop", "oracle:(((",
         "oracle:no_such_name"],
    ),
    "kafka_ca": (["run persist", "topics create"], ["nowhere", "file/below", "x" * 300]),
    "kafka_cert": (["run persist", "topics create"], ["nowhere", "folder"]),
    "kafka_key": (["run persist", "topics create"], ["nowhere", "folder"]),
    "kafka_options": (
        ["run personalize", "topics create", "catalog publish", "simulate", "verify-replay"],
        ['{"no.such": "unspoken"}', '{"linger.ms": "unspoken"}', '{"acks": "unspoken"}',
         '{"error_cb": "unspoken"}', '{"security.protocol": "SSL"}', '{"": ""}', '["unspoken"]'],
    ),
    "redis_url": (
        ["run personalize", "inspect slot"],
        ["localhost", "http://cache", "redis://", "redis://my cache", "redis://cache:port",
         "redis://user:un#spoken@cache:6379/0", "redis://cache/?socket_timeout=unspoken",
         "redis://cache/?no_such_option=unspoken"],
    ),
    "metrics_host": (
        ["run personalize", "run --processes"],
        ["nowhere.invalid", "8.8.8.8", "a..b", "x" * 300, "http://0.0.0.0"],
    ),
    "metrics_port": (["run --processes"], ["65535", "70000"]),
    "topic_prefix": (["run persist", "topics create"], ["shop/", "é", "a b", "x" * 250]),
    "replication": (["topics create"], ["0", "40000"]),
}  # fmt: skip
"""Values that the commands which use them must refuse."""


@pytest.mark.parametrize(
    ("name", "command"), [(name, each) for name, (using, _) in REFUSED.items() for each in using]
)
def test_what_cannot_be_used_is_refused_before_anything_starts(
    name: str, command: str, home: Path, ended: Any
) -> None:
    for broken in ("damaged", "empty", "locked"):
        place = home / "folder" / broken / "personalize"
        place.mkdir(parents=True, exist_ok=True)
        if broken == "locked":
            (place / "owner.lock").mkdir(exist_ok=True)
        else:
            (place / "part-0.sqlite3").write_bytes(b"no database" * (broken == "damaged"))
    for value in REFUSED[name][1]:
        result = ended(command, name, value)
        assert_refused(result, name, value)
        assert "unspoken" not in result.errors, result


def test_a_port_that_is_taken_is_refused(ended: Any) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = str(taken.getsockname()[1])
        for command in ("run personalize", "run --processes"):
            assert_refused(ended(command, "metrics_port", port), "metrics_port", port)


def test_a_store_without_its_schema_is_refused(home: Path, ended: Any) -> None:
    (home / "unmigrated.db").write_bytes(b"")
    for address in ("sqlite:nothing.db", "sqlite:unmigrated.db"):
        result = ended("run persist", "store", address)
        assert_refused(result, "store", address)
        assert "banditflow store migrate" in result.errors
    assert not (home / "nothing.db").exists()


def test_a_store_that_does_not_answer_is_waited_for(
    ended: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BANDITFLOW_STORE_USER", "we")
    monkeypatch.setenv("BANDITFLOW_STORE_PASSWORD", "unspoken")
    result = ended("run persist", "store", "oracle:127.0.0.1:1/FREEPDB1")

    assert result.status == 0
    assert "BANDITFLOW_STORE: DPY-6005" in result.errors
    assert "the flow waits for the store" in result.errors
    assert result.errors.count("\n") == 1
    assert result.seconds < SOON
