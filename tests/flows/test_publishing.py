"""``banditflow catalog publish`` and its kin change what a flow does, and say what they change."""

import json
import random
import re
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import confluent_kafka
import msgspec
import pytest

from flows.cli.main import main
from flows.devkit.embedded import Server
from flows.runtime.clock import system_clock
from operators.envelope import Rejected
from operators.io.kafka import CatalogSource, producer_config
from operators.io.kafka.partition import read_partition
from operators.logic.catalog import Catalog, CatalogHistory
from operators.logic.catalog_check import flaw_of
from operators.logic.catalog_limits import take_in
from schemas.clock import micros
from schemas.settings import Settings, load
from schemas.topics import Topic

TIME = "2026-01-01T00:00:00Z"
SLOT = {"type": "slot", "id": "slot-home", "time": TIME, "slot_id": "home"}
A, B = (
    {"type": "action", "id": f"action-{a}", "time": TIME, "action_id": a, "slots": ["home"]}
    for a in "ab"
)
Records = Sequence[dict[str, Any]]


@pytest.fixture
def deployed(
    broker: Server,
    topic_prefix: str,
    topics_for: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Settings:
    """A broker with an empty topic, and settings that name it."""
    topics_for(broker, {"catalog": 1})
    for name, value in {
        "SECRET": "a secret of tests",
        "BOOTSTRAP_SERVERS": broker.address,
        "TOPIC_PREFIX": topic_prefix,
    }.items():
        monkeypatch.setenv(f"BANDITFLOW_{name}", value)
    monkeypatch.chdir(tmp_path)
    return load()


def written(records: Records) -> str:
    """A file with the records, one a line."""
    Path("catalog.jsonl").write_text("\n".join(map(json.dumps, records)))
    return "catalog.jsonl"


@pytest.fixture
def publish(deployed: Settings, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Publish records by the command, and give what it printed."""

    def run(records: Records, *options: str) -> str:
        capsys.readouterr()
        assert main(["catalog", "publish", written(records), *options]) == 0
        return capsys.readouterr().out

    return run


def read_by_flow(settings: Settings) -> tuple[CatalogHistory, list[Rejected]]:
    """The catalog as the flow's own source and its step make it of the topic."""
    part = CatalogSource(settings.kafka, flaw_of, system_clock).build_part("in", "catalog", None)
    history, rejected = CatalogHistory(), list[Rejected]()
    deadline, complete = time.monotonic() + 20, False
    while not complete:
        assert time.monotonic() < deadline
        for _, update in part.next_batch():
            rejected += update.rejected
            appended = [place.appended for place in update.places]
            for place, flaw in take_in(history, update.entries, appended):
                origin, payload, _ = update.places[place]
                rejected.append(Rejected(flaw.reason, origin, payload))
            complete = update.complete
    return history, rejected


def holds(settings: Settings, ahead: timedelta = timedelta()) -> Catalog:
    """What a flow decides by at a time from now on."""
    return read_by_flow(settings)[0].as_of(micros(system_clock() + ahead))


def on_topic(settings: Settings) -> list[bytes]:
    return [each[0] for each in read_partition(settings.kafka, Topic.CATALOG, 0, system_clock)]


def test_an_edited_file_whose_time_was_not_touched_takes_effect(
    deployed: Settings, publish: Callable[..., str]
) -> None:
    publish([SLOT, A, B])
    said = publish([SLOT | {"floor": 0.1}, A, B | {"enabled": False}])
    catalog = holds(deployed)
    assert catalog.slots["home"].floor == 0.1
    assert [action.action_id for action in catalog.actions["home"]] == ["a"]
    assert "changed   slot home: floor 0.0 → 0.1" in said
    assert "changed   action b: enabled true → false" in said
    assert "0 added, 2 changed, 0 removed, 1 unchanged" in said


def test_an_older_file_again_takes_effect(deployed: Settings, publish: Callable[..., str]) -> None:
    publish([SLOT, A])
    publish([SLOT | {"floor": 0.1, "time": "2026-02-01T00:00:00Z"}, A])
    assert holds(deployed).slots["home"].floor == 0.1
    assert "floor 0.1 → 0.0" in publish([SLOT, A])
    assert holds(deployed).slots["home"].floor == 0.0


@pytest.mark.parametrize("change", [{"floor": 0.1}, {"deleted": True}])
def test_a_time_that_has_passed_changes_nothing_of_what_was(
    change: dict[str, Any], deployed: Settings, publish: Callable[..., str]
) -> None:
    publish([SLOT, A])
    before = system_clock()
    publish([SLOT | change | {"time": "2026-02-01T00:00:00Z"}, A])
    history, _ = read_by_flow(deployed)
    for then in (datetime(2026, 2, 2, tzinfo=UTC), before):
        assert history.as_of(micros(then)).slots["home"].floor == 0.0
    after = history.as_of(micros(system_clock())).slots
    assert after == {} if "deleted" in change else after["home"].floor == 0.1


def test_what_is_new_holds_from_the_times_of_its_file(
    deployed: Settings, publish: Callable[..., str]
) -> None:
    publish([SLOT, A, SLOT | {"floor": 0.1, "time": "2026-02-01T00:00:00Z"}])
    history, _ = read_by_flow(deployed)
    held = [history.as_of(micros(datetime(2026, month, 2, tzinfo=UTC))) for month in (1, 2)]
    assert [catalog.slots["home"].floor for catalog in held] == [0.0, 0.1]


ANEW = "its policy begins anew: what it has learned is left behind"


@pytest.mark.parametrize(
    ("change", "begins_anew"),
    [
        ({"policy": {"kind": "logistic"}}, True),
        ({"policy": {"kind": "beta", "params": {"half_life": 3600}}}, True),
        ({"features": {"numeric": ["age"]}}, True),
        ({"features": {"scale": True}}, True),
        ({"slate_size": 2}, True),
        ({"reward_range": [0, 2]}, True),
        ({"default_reward": 0.5, "click_reward": 0.5}, False),
        ({"policy": {"kind": "beta", "publish_rewards": 5}}, False),
        ({"floor": 0.1, "reward_window": 60, "holdout": {"share": 0.1}}, False),
    ],
)
def test_it_is_said_where_a_policy_begins_anew(
    change: dict[str, Any],
    begins_anew: bool,
    deployed: Settings,
    publish: Callable[..., str],
    capsys: Any,
) -> None:
    many = [A | {"id": f"{n}", "action_id": f"{n}"} for n in range(60)]
    publish([SLOT])
    before = system_clock()
    said = [publish([SLOT | change, *many], *options) for options in (["--dry-run"], [])]
    for options in (["--dry-run"], []):
        assert main(["catalog", "rollback", before.isoformat(), *options]) == 0
        said.append(capsys.readouterr().out)
    for each in said:
        assert each.count(ANEW) == begins_anew
        assert not begins_anew or re.match(rf"changed   slot home: .*\n +{ANEW}\n", each)


VIEW = "what it has learned decides until it has learned enough like this"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"features": {"auto": {"bits": 12}}}, VIEW),
        ({"features": {"auto": {"crosses": []}}}, VIEW),
        ({"policy": {"kind": "shared", "params": {"rank": 64}}}, VIEW),
        ({"policy": {"kind": "shared", "params": {"link": "gaussian"}}}, ANEW),
        ({"reward_range": [0, 2]}, ANEW),
        ({"slate_size": 2}, ANEW),
        ({"floor_mass": 0.1}, ""),
    ],
)
def test_it_is_said_where_another_view_begins(
    change: dict[str, Any], says: str, deployed: Settings, publish: Callable[..., str]
) -> None:
    slot = SLOT | {"policy": {"kind": "shared"}, "features": {"auto": {}}, "candidates": "request"}
    publish([slot])
    said = [publish([slot | change], *options) for options in (["--dry-run"], [])]
    for each in said:
        assert [each.count(ANEW), each.count(VIEW)] == [says == ANEW, says == VIEW]


def test_where_long_values_differ_is_shown(deployed: Settings, publish: Callable[..., str]) -> None:
    text = "A long text about nothing much, that ends in "
    publish([SLOT, A | {"content": f"{text}rain"}])
    said = publish([A | {"content": f"{text}sunshine"}])
    assert 'content …hat ends in rain" → …hat ends in sunshine"\n' in said


def test_a_change_of_policy_that_does_not_come_begins_nothing_anew(
    deployed: Settings, publish: Callable[..., str]
) -> None:
    soon = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    publish([SLOT])
    assert publish([SLOT | {"slate_size": 2, "time": soon}]).count(ANEW) == 1
    said = publish([SLOT])
    assert "in place of what was to hold from then on: slate_size 2 → 1" in said
    assert ANEW not in said
    later = SLOT | {"slate_size": 3, "time": soon}
    assert publish([SLOT | {"slate_size": 2}, later]).count(ANEW) == 2


def test_what_is_there_already_is_not_sent_again(
    deployed: Settings, publish: Callable[..., str]
) -> None:
    assert "2 added" in publish([SLOT, A])
    assert "2 unchanged\nnothing to publish" in publish([A, SLOT | {"id": "x"}])
    assert len(on_topic(deployed)) == 2


def test_what_is_unchanged_is_sent_again_where_that_is_asked_for(
    deployed: Settings, publish: Callable[..., str]
) -> None:
    publish([SLOT, A])
    said = publish([SLOT | {"floor": 0.1}, A], "--again")
    assert "1 changed, 0 removed, 1 unchanged" in said
    assert "published 1 records and 1 unchanged ones again" in said
    first, second = (on_topic(deployed)[at] for at in (1, 3))
    assert first == second
    history, rejected = read_by_flow(deployed)
    assert (len(on_topic(deployed)), rejected) == (4, [])
    assert history.as_of(micros(system_clock())).slots["home"].floor == 0.1


def test_a_dry_run_says_it_and_sends_nothing(
    deployed: Settings, publish: Callable[..., str]
) -> None:
    publish([SLOT, A])
    said = publish([SLOT, B, A | {"content": 1}], "--dry-run")
    assert "added     action b\nchanged   action a: content null → 1\nunchanged slot home" in said
    assert "nothing was sent: 2 records would be" in said
    assert len(on_topic(deployed)) == 2


def test_what_a_file_does_not_name_stays_but_with_prune(
    deployed: Settings, publish: Callable[..., str]
) -> None:
    publish([SLOT, A, B])
    said = publish([SLOT, A])
    assert "0 added, 0 changed, 0 removed, 2 unchanged\n1 not named in the file stays\n" in said
    assert "\n2 not named in the file stay\n" in publish([A, B | {"action_id": "c"}], "--dry-run")
    assert len(holds(deployed).actions["home"]) == 2
    said = publish([SLOT, A], "--prune")
    assert said.startswith("removed   action b\n")
    assert [action.action_id for action in holds(deployed).actions["home"]] == ["a"]
    assert "not named" not in said
    assert "not named" not in publish([SLOT, A])
    assert msgspec.json.decode(on_topic(deployed)[-1])["deleted"] is True
    assert "added     action b" in publish([B])
    assert len(holds(deployed).actions["home"]) == 2


@pytest.mark.parametrize(
    ("records", "named"),
    [
        ([], "holds no record"),
        ([A], "every slot"),
        ([SLOT | {"deleted": True}, A], "every slot"),
        ([SLOT | {"slot_id": "other"}], "every slot"),
    ],
)
def test_no_slip_prunes_everything(
    records: Records, named: str, deployed: Settings, publish: Callable[..., str], capsys: Any
) -> None:
    publish([SLOT, A])
    assert main(["catalog", "publish", written(records), "--prune"]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("banditflow: ")
    assert named in captured.err
    assert captured.out == ""
    assert len(on_topic(deployed)) == 2


def test_a_rollback_is_one_command(
    deployed: Settings, publish: Callable[..., str], capsys: Any
) -> None:
    publish([SLOT, A])
    before = system_clock()
    publish([SLOT | {"floor": 0.5}, B, A | {"deleted": True}])
    assert [action.action_id for action in holds(deployed).actions["home"]] == ["b"]
    assert main(["catalog", "show", "--at", before.isoformat()]) == 0
    assert [json.loads(line)["id"] for line in capsys.readouterr().out.splitlines()] == [
        "slot-home",
        "action-a",
    ]
    for options in (["--dry-run"], []):
        assert main(["catalog", "rollback", before.isoformat(), *options]) == 0
        said = capsys.readouterr().out
        assert "removed   action b" in said
        assert "added     action a" in said
        assert "changed   slot home: floor 0.5 → 0.0" in said
    catalog = holds(deployed)
    assert [action.action_id for action in catalog.actions["home"]] == ["a"]
    assert catalog.slots["home"].floor == 0.0


def test_a_rollback_keeps_what_was_scheduled_before(
    deployed: Settings, publish: Callable[..., str]
) -> None:
    soon = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    publish([SLOT, A, B])
    publish([B, B | {"enabled": False, "time": soon}])
    before = system_clock()
    slips = [([A | {"content": "a slip"}], []), ([SLOT, A], ["--prune"]), ([SLOT, A, B], [])]
    for slip, options in slips:
        publish(slip, *options)
        assert main(["catalog", "rollback", before.isoformat()]) == 0
        ids = [action.action_id for action in holds(deployed).actions["home"]]
        later = [action.action_id for action in holds(deployed, timedelta(days=2)).actions["home"]]
        assert (ids, later) == (["a", "b"], ["a"])


def test_what_has_run_stays_and_no_rollback_makes_a_draft_of_it(
    deployed: Settings, publish: Callable[..., str], capsys: Any
) -> None:
    draft = {
        "type": "experiment",
        "id": "spring-1",
        "time": TIME,
        "experiment_id": "spring",
        "slot_id": "home",
        "variations": [{"id": "old", "actions": ["a"]}, {"id": "new", "actions": ["b"]}],
        "baseline": "old",
    }
    publish([SLOT, A, B, draft])
    before = system_clock()
    running = draft | {"state": "running"}
    publish([SLOT, A, B, running])
    heavier = [draft["variations"][0], draft["variations"][1] | {"weight": 2}]
    capsys.readouterr()
    refused = [
        (["publish", [SLOT, A, B, running | {"variations": heavier}]], "variations"),
        (["publish", [SLOT, A, B, draft]], "state"),
        (["rollback", before.isoformat()], "state"),
    ]
    for (command, what), field in refused:
        file_or_time = what if isinstance(what, str) else written(what)
        assert main(["catalog", command, file_or_time]) == 2
        said = capsys.readouterr().err
        assert "spring-1" in said
        assert f"{field}: " in said
    assert read_by_flow(deployed)[1] == []
    assert holds(deployed).dividing["home"][0].state == "running"


@pytest.mark.parametrize("when", ["2000-01-01T00:00:00Z", "2150-01-01T00:00:00Z"])
def test_no_rollback_to_a_time_without_a_catalog(
    when: str, deployed: Settings, publish: Callable[..., str], capsys: Any
) -> None:
    publish([SLOT, A])
    capsys.readouterr()
    assert main(["catalog", "rollback", when]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert len(on_topic(deployed)) == 2


def test_a_time_to_come_is_kept_and_said(
    deployed: Settings, publish: Callable[..., str], capsys: Any
) -> None:
    day = (datetime.now(UTC) + timedelta(days=1)).replace(microsecond=0)
    soon = day.isoformat().replace("+00:00", "Z")
    publish([SLOT, A])
    said = publish([SLOT, A, A | {"time": soon, "enabled": False}, B | {"time": soon}])
    assert f"added     action b from {soon} on" in said
    assert f"changed   action a from {soon} on: enabled true → false" in said
    assert [action.action_id for action in holds(deployed).actions["home"]] == ["a"]
    later = holds(deployed, timedelta(days=2))
    assert [action.action_id for action in later.actions["home"]] == ["b"]
    assert main(["catalog", "show"]) == 0
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert "nothing to publish" in publish(shown, "--prune")
    said = publish([SLOT, A])
    assert f"changed   action a from {soon} on in place of what was to hold from then on" in said
    for ahead in (timedelta(), day - system_clock(), timedelta(days=2)):
        assert holds(deployed, ahead).actions["home"][0].enabled


def test_what_cannot_be_used_of_the_topic_is_left_out_and_said(
    deployed: Settings, publish: Callable[..., str], capsys: Any
) -> None:
    publish([SLOT, A])
    producer = confluent_kafka.Producer(producer_config(deployed.kafka))
    for value in (None, b"{", json.dumps(A | {"content": 1}).encode(), b'{"type": "rule"}'):
        producer.produce(deployed.kafka.topic(Topic.CATALOG), value, b"action-a")
    assert producer.flush(20) == 0
    _, rejected = read_by_flow(deployed)
    assert [each.reason for each in rejected].count("conflicting_version") == 1
    assert main(["catalog", "publish", written([SLOT, A | {"content": 1}])]) == 0
    captured = capsys.readouterr()
    assert "note: 4 records on the topic are left out" in captured.err
    assert "changed   action a: content null → 1" in captured.out
    assert holds(deployed).actions["home"][0].content == 1


def test_another_producers_record_that_comes_too_late_to_hold_is_said(
    deployed: Settings, publish: Callable[..., str], capsys: Any
) -> None:
    publish([SLOT, A, B])
    publish([A | {"content": 1}])
    producer = confluent_kafka.Producer(producer_config(deployed.kafka))
    off = json.dumps(A | {"time": "2026-02-01T00:00:00Z", "enabled": False}).encode()
    old = micros(datetime(2026, 2, 1, tzinfo=UTC)) // 1000
    for _ in range(2):  # a producer whose clock is behind sends it, and sends it again
        producer.produce(deployed.kafka.topic(Topic.CATALOG), off, b"a", timestamp=old)
    assert producer.flush(20) == 0
    history, rejected = read_by_flow(deployed)
    assert [each.reason for each in rejected] == ["stale_version"]
    now = history.as_of(micros(system_clock())).actions["home"]
    assert [action.action_id for action in now] == ["a", "b"]
    assert main(["catalog", "publish", written([A | {"content": 1, "enabled": False}])]) == 0
    said = capsys.readouterr()
    assert re.search(r"note: 1 records on the topic are left out.*offset \d+: time: ", said.err)
    assert "changed   action a: enabled true → false" in said.out
    assert [action.action_id for action in holds(deployed).actions["home"]] == ["b"]


def test_two_versions_of_one_time_and_id_are_refused(deployed: Settings, capsys: Any) -> None:
    file = written([SLOT, A, A | {"enabled": False}])
    for action in ("check", "publish"):
        assert main(["catalog", action, file]) == 2
        assert re.search(
            r"catalog.jsonl:3: time: another record with this id", capsys.readouterr().err
        )


def test_whatever_is_published_the_flow_has_it(
    deployed: Settings, publish: Callable[..., str]
) -> None:
    choose = random.Random(4)
    for number in range(5):
        records: list[dict[str, Any]] = [SLOT | {"floor": choose.choice([0.0, 0.1, 0.2])}]
        for action in choose.sample([A, B, A | {"action_id": "c"}], choose.randint(1, 3)):
            moved = timedelta(days=choose.choice([-400, -1, 1]))
            time_ = TIME if choose.random() < 0.5 else (datetime.now(UTC) + moved).isoformat()
            records.append(action | {"content": choose.randint(0, 2), "time": time_})
        said = publish(records, *(["--prune"] if number % 2 else []))
        known = {action.action_id: action.content for action in holds(deployed).actions["home"]}
        later = holds(deployed, timedelta(days=2))
        assert later.slots["home"].floor == records[0]["floor"]
        wanted = {each["action_id"]: each["content"] for each in records[1:]}
        shown = {action.action_id: action.content for action in later.actions["home"]}
        assert wanted.items() <= shown.items()
        assert not number % 2 or shown == wanted
        assert set(re.findall(r"^removed   action (\S+)$", said, re.MULTILINE)).isdisjoint(known)
        assert "nothing to publish" in publish(records, *(["--prune"] if number % 2 else []))
