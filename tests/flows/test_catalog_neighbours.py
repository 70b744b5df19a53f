"""``banditflow catalog publish --neighbours``: from vectors to a new action's first decisions."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.cli.main import main
from flows.devkit.embedded import Server
from flows.runtime.clock import system_clock
from operators.io.kafka.client import consumer
from operators.io.store.sqlite import SqliteStore
from operators.logic.catalog import CatalogHistory
from operators.logic.catalog_check import read_entry
from operators.logic.catalog_contents import changed_fields
from operators.logic.catalog_limits import take_in
from operators.logic.policies import Deltas
from operators.logic.slot_policy import name_actions, new_policy
from schemas.catalog import Action, Neighbour, PolicySettings
from schemas.codec import Flaw, decode
from schemas.settings import load
from schemas.topics import Topic
from tests.support import records as make

OLD = [
    make.action("liked", embedding=[1.0, 0.1]),
    make.action("other", embedding=[0.0, 1.0]),
    make.action("elsewhere", slots=["shop"], embedding=[1.0, 0.0]),
]
NEW = {
    "type": "action",
    "id": "action-new",
    "time": "2026-06-01T00:00:00Z",
    "action_id": "new",
    "slots": ["home"],
    "embedding": [1.0, 0.0],
}
CLEARED: dict[str, Any] = NEW | {"neighbours": []}


@pytest.fixture
def deployed(
    broker: Server,
    topic_prefix: str,
    topics_for: Callable[..., Mapping[str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> SqliteStore:
    """A broker with the topic, and a store that holds the old actions."""
    topics_for(broker, {"catalog": 1})
    store = SqliteStore(tmp_path / "store.db")
    store.migrate(system_clock())
    store.apply(make.writes(*OLD))
    for name, value in {
        "SECRET": "a secret of tests",
        "BOOTSTRAP_SERVERS": broker.address,
        "TOPIC_PREFIX": topic_prefix,
        "STORE": f"sqlite:{tmp_path / 'store.db'}",
    }.items():
        monkeypatch.setenv(f"BANDITFLOW_{name}", value)
    return store


def published() -> Action:
    settings = load()
    reader = consumer(
        settings.kafka, **{"auto.offset.reset": "earliest", "enable.partition.eof": False}
    )
    reader.subscribe([settings.kafka.topic(Topic.CATALOG)])
    (message,) = reader.consume(1, 30.0)
    reader.close()
    found = decode(Topic.CATALOG, message.value() or b"")
    assert isinstance(found, Action)
    return found


def test_a_published_action_starts_near_its_neighbour(
    deployed: SqliteStore, tmp_path: Path
) -> None:
    file = tmp_path / "new.jsonl"
    file.write_text(json.dumps(NEW))
    assert main(["catalog", "publish", str(file), "--neighbours", "2"]) == 0
    new = published()
    assert new.neighbours == [Neighbour(action_id="liked", similarity=0.995037)]
    slot = make.slot("home", policy=PolicySettings(kind="beta", params={"neighbours": 1.0}))
    policy = new_policy(slot, tuple(OLD[:2]), 0)
    for name, clicks in {"liked": 60.0, "other": 6.0}.items():
        n = 200
        reward = np.zeros(n)
        reward[: int(clicks)] = 1.0
        when = np.zeros(n)
        policy.learn(
            Deltas(
                action_ids=[name] * n,
                x=np.zeros((n, 0)),
                eta=when,
                time=when,
                count_delta=when + 1.0,
                reward_delta=reward,
            )
        )
    name_actions(policy, slot, (*OLD[:2], new))
    posterior = policy.publish()
    liked, found, unknown = posterior.weigh(
        np.zeros((1, 0)), posterior.columns(["liked", "new", "nobody"])
    ).eta[0]
    assert unknown < liked - 0.5
    assert found > unknown + 0.5 * (liked - unknown)


def test_an_empty_list_clears_the_neighbours_and_leaving_it_out_keeps_them(
    deployed: SqliteStore, tmp_path: Path, capsys: Any
) -> None:
    file = tmp_path / "new.jsonl"

    def publish(record: dict[str, Any], *options: str) -> str:
        file.write_text(json.dumps(record))
        assert main(["catalog", "publish", str(file), *options]) == 0
        return str(capsys.readouterr().out)

    publish(NEW, "--neighbours", "2")
    assert "1 unchanged" in publish(NEW)
    assert re.search(r"changed   action new: neighbours .*liked.* → \[\]", publish(CLEARED))
    for record, options in ((CLEARED, ()), (CLEARED, ("--neighbours", "2")), (NEW, ())):
        assert "1 unchanged" in publish(record, *options)
    assert "neighbours [] → " in publish(NEW, "--neighbours", "2")


def test_a_record_without_neighbours_says_the_same_as_one_with_an_empty_list() -> None:
    """The topic has records of releases that wrote one for the other."""
    without, none = (read_entry(json.dumps(each).encode()) for each in (NEW, CLEARED))
    assert isinstance(without, Action)
    assert isinstance(none, Action)
    assert take_in(CatalogHistory(), [without, none, without]) == []
    assert changed_fields(without, none) == {}


def test_a_vector_of_another_length_is_named(
    deployed: SqliteStore, tmp_path: Path, capsys: Any
) -> None:
    file = tmp_path / "new.jsonl"
    file.write_text(json.dumps(NEW | {"embedding": [1.0, 0.0, 0.0]}))
    assert main(["catalog", "publish", str(file), "--neighbours", "2"]) == 2
    assert "action 'new': embedding: vector: has 3 numbers" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong",
    [
        [{"action_id": "new", "similarity": 0.5}],
        [{"action_id": "a", "similarity": 0.5}] * 2,
        [{"action_id": "a", "similarity": 1.5}],
        [{"action_id": "a", "similarity": 0}],
        [{"action_id": "a", "similarity": 0.5, "distance": 0.5}],
        [{"action_id": "a"}],
        ["a"],
    ],
)
def test_malformed_neighbours_are_a_flaw_that_names_them(wrong: Any) -> None:
    entry = read_entry(json.dumps(NEW | {"neighbours": wrong}).encode())
    assert isinstance(entry, Flaw)
    assert "neighbours" in f"{entry.field} {entry.detail}"
