"""Files that a command is given and cannot use: one sentence with the path, and no traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.cli.main import main
from flows.runtime import preflight, runner
from schemas.settings import PREFIX

ROOT = Path(__file__).parents[2]

CONTENTS = {
    "empty": b"",
    "text": b"Dear reader, ",
    "binary": bytes(range(256)),
    "zeros": bytes(1000),
    "UTF-16": '{"type": "slot"}'.encode("utf-16"),
    "Latin-1": '{"slot_id": "Düne"}'.encode("latin-1"),
    "cut short": b'{"type": "slot", "id": "s"',
    "nested deeply": b"[" * 200_000,
    "an array": b"[]",
    "a number": b"1",
    "null": b"null",
}


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("BANDITFLOW_SECRET", "sixteen letters!")
    monkeypatch.chdir(tmp_path)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("banditflow: ")
    assert captured.err.count("\n") == 1
    assert captured.err[:-1].isprintable()
    return captured.err


@pytest.mark.parametrize("action", ["check", "publish"])
@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_a_catalog_that_is_none(
    content: bytes, action: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("slots.jsonl").write_bytes(content)
    assert "slots.jsonl:" in refused(capsys, "catalog", action, "slots.jsonl")


@pytest.mark.parametrize("path", ["nowhere", ".", "file/below", "x" * 5000, "\x1b[31m", "\udcff"])
def test_a_path_that_leads_nowhere(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").write_text("")
    assert "cannot be read" in refused(capsys, "catalog", "check", path)
    assert "does not exist" in refused(capsys, "replay", path)
    assert "log.jsonl" in refused(capsys, "verify-replay", "--log", path)


@pytest.mark.parametrize(
    "content",
    [*CONTENTS.values(), b'{"partitions": 2}\n[1, "clicks", 7, null, ""]\n',
     b'{"partitions": 2}\n[1, "no-such-topic", 0, null, ""]\n', b'{"partitions": -1}\n',
     b'{"partitions": 1000000000}\n', b'{"partitions": 2}\n[1, "clicks"'],
)  # fmt: skip
def test_a_recorded_log_that_is_none(content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    Path("log.jsonl").write_bytes(content)
    said = refused(capsys, "verify-replay", "--log", ".")
    assert "log.jsonl" in said or "BANDITFLOW_PARTITIONS" in said


def test_a_folder_for_logs_that_is_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(preflight, "check_surroundings", lambda *_: None)
    monkeypatch.setattr(runner, "_end_on_sigterm", lambda: None)
    monkeypatch.setenv("BANDITFLOW_RECOVERY", "recovery")
    Path("logs").write_text("")

    said = refused(capsys, "run", "persist", "--processes", "1", "--logs", "logs")

    assert said == "banditflow: cannot use 'logs': File exists\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a device that is full")
def test_output_without_room() -> None:
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "flows", "catalog", "demo"],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert (ended.returncode, ended.stderr) == (
        2,
        "banditflow: cannot write: No space left on device\n",
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["catalog", "demo", "--seed", "-1"],
        ["replay", "--refresh", "0"],
        ["replay", "--top", "-1"],
        ["verify-replay", "--requests", "0"],
        ["verify-replay", "--rate", "nan"],
        ["verify-replay", "--speed", "0"],
        ["verify-replay", "--kills", "-1"],
        ["verify-replay", "--seed", "9" * 400],
        ["simulate", "--rate", "inf"],
        ["simulate", "--actions", "1e999"],
        ["run", "persist", "--processes", "0"],
    ],
    ids=" ".join,
)
def test_a_number_out_of_range_is_refused_by_its_option(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert f"error: argument {arguments[-2]}: " in capsys.readouterr().err
