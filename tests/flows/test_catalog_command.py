"""The command ``banditflow catalog``: what the documents show works, what is wrong is named."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from flows.cli.main import main
from flows.devkit.embedded import Server
from flows.runtime.catalog_file import read_catalog
from flows.runtime.catalog_topic import publish_entries
from flows.runtime.clock import system_clock
from operators.io.kafka.client import consumer
from schemas.catalog import Action, Slot
from schemas.settings import load
from schemas.topics import Topic

ROOT = Path(__file__).parents[2]


def documented() -> str:
    """The example of the how-to."""
    text = (ROOT / "docs/how-to/write-a-catalog.md").read_text()
    found = re.search(r"```json\n(.*?)```", text, re.DOTALL)
    assert found is not None
    return found.group(1)


def test_the_documented_catalog_is_right(tmp_path: Path) -> None:
    file = tmp_path / "home.jsonl"
    file.write_text(documented())
    slot, *actions = read_catalog(file).entries
    assert isinstance(slot, Slot)
    assert [action.action_id for action in actions if isinstance(action, Action)] == ["a", "b"]


def test_every_slot_field_is_documented() -> None:
    text = (ROOT / "docs/how-to/write-a-catalog.md").read_text()
    fields = set(Slot.__struct_fields__) - {"id", "time", "source", "subject", "deleted"}
    assert [field for field in fields if f"`{field}`" not in text] == []


def test_what_is_wrong_is_named_by_line(tmp_path: Path, capsys: Any) -> None:
    slot, *_ = documented().splitlines()
    wrong = [
        slot.replace('"logistic"', '"logistik"'),
        slot,
        slot.replace('"type":"slot"', '"type":"slott"'),
        slot.replace('"reward_window":600', '"reward_window":"long"'),
        "{",
    ]
    file = tmp_path / "wrong.jsonl"
    file.write_text("\n".join(wrong))
    assert main(["catalog", "check", str(file)]) == 2
    said = capsys.readouterr().err
    assert [int(line) for line in re.findall(r"wrong.jsonl:(\d+):", said)] == [1, 3, 4, 5]
    for name in ("policy", "type: is none of slot", "reward_window"):
        assert name in said


@pytest.mark.parametrize("deleted", [False, True])
def test_drafts_of_experiments_are_accepted_and_said_to_change_nothing(
    deleted: bool, tmp_path: Path, capsys: Any
) -> None:
    common = {"type": "experiment", "time": "2026-01-01T00:00:00Z", "slot_id": "home"}
    slot = {"type": "slot", "id": "1", "time": "2026-01-01T00:00:00Z", "slot_id": "home"}
    slot["candidates"] = "request"
    records = [slot] + [
        common | {"id": name, "experiment_id": name, "deleted": deleted} for name in ("one", "two")
    ]
    file = tmp_path / "home.jsonl"
    file.write_text("\n".join(msgspec.json.encode(record).decode() for record in records))
    assert main(["catalog", "check", str(file)]) == 0
    said = capsys.readouterr().err.splitlines()
    assert len(said) == (0 if deleted else 1)
    assert all("changes nothing until" in line and "(1 more like it)" in line for line in said)


def test_a_catalog_without_experiments_has_no_note(tmp_path: Path, capsys: Any) -> None:
    file = tmp_path / "home.jsonl"
    file.write_text(documented())
    assert main(["catalog", "check", str(file)]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("content", [None, ""])
def test_a_file_without_records_is_refused(
    content: str | None, tmp_path: Path, capsys: Any
) -> None:
    file = tmp_path / "none.jsonl"
    if content is not None:
        file.write_text(content)
    assert main(["catalog", "check", str(file)]) == 2
    assert "none.jsonl" in capsys.readouterr().err


def test_the_demo_catalog_can_be_published(capsys: Any, tmp_path: Path) -> None:
    assert main(["catalog", "demo", "--actions", "3"]) == 0
    file = tmp_path / "demo.jsonl"
    file.write_text(capsys.readouterr().out)
    assert len(read_catalog(file).entries) == 5


def test_records_reach_the_topic_under_their_ids(
    broker: Server, topic_prefix: str, topics_for: Callable[..., Mapping[str, str]], tmp_path: Path
) -> None:
    topics_for(broker, {"catalog": 1})
    settings = load(
        {},
        secret="a secret of tests",
        bootstrap_servers=broker.address,
        topic_prefix=topic_prefix,
    )
    file = tmp_path / "home.jsonl"
    file.write_text(documented())
    entries = read_catalog(file).entries
    publish_entries(settings, system_clock, entries)
    reader = consumer(
        settings.kafka, **{"auto.offset.reset": "earliest", "enable.partition.eof": False}
    )
    reader.subscribe([settings.kafka.topic(Topic.CATALOG)])
    messages: list[Any] = reader.consume(len(entries), 30.0)
    reader.close()
    assert [message.key().decode() for message in messages] == [entry.id for entry in entries]
    assert [msgspec.json.decode(message.value())["id"] for message in messages] == [
        entry.id for entry in entries
    ]
