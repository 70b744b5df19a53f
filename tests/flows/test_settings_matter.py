"""Every setting changes something that is made of the settings, or is refused beside the others."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest

from flows.registry import FLOWS
from flows.runtime import runner
from flows.runtime.quarantine.execution import Execution
from flows.runtime.quarantine.quarantine import Quarantine
from flows.runtime.recovery import recovery_folder
from operators.decode import reader
from operators.envelope import Batch, Rejected
from operators.gathering import Gathering
from operators.io.kafka import admin
from operators.io.kafka.client import client_config
from operators.io.kafka.fetch import SharedConsumer
from operators.io.kafka.group import GroupPartition
from operators.io.redis import RedisSink, client
from operators.io.store.open import open_store
from operators.io.store.sqlite import SqliteStore
from operators.logic.catalog import CatalogedBatch
from schemas.clock import NEVER, micros
from schemas.settings import PREFIX, TYPES, Settings, SettingsError, environment_of, idle, load
from schemas.topics import Topic
from tests.support.scripted import SLOT, START, Edit, Record, Script, catalog_of, nothing

SECRET = "sixteen letters!"


class Changed(SimpleNamespace):
    """Another value of a setting, what is looked at, and the settings that both have beside it."""

    to: Any
    seen: Callable[[Settings], Any]
    beside: Mapping[str, Any]


def changed(to: Any, seen: Callable[[Settings], Any], **beside: Any) -> Changed:
    return Changed(to=to, seen=seen, beside=beside)


def kafka_client(settings: Settings) -> Any:
    return {k: v for k, v in client_config(settings.kafka).items() if k != "error_cb"}


def topics(settings: Settings) -> Any:
    """The topics as they are asked for."""
    asked: list[Any] = []

    def create(new: list[Any], **_: Any) -> Any:
        asked.extend(new)
        return {new[0].topic: SimpleNamespace(result=lambda timeout: None)}

    admin._create_with(SimpleNamespace(create_topics=create), settings.kafka, Topic.CLICKS, {})  # type: ignore[arg-type]
    return [(new.topic, new.num_partitions, new.replication_factor) for new in asked]


def polled(settings: Settings) -> Any:
    """How many records a poll asks for."""
    asked: list[int] = []
    shared = SharedConsumer(settings.kafka)
    shared.consumer.close()
    shared.consumer = SimpleNamespace(consume=lambda most, _: asked.append(most) or [])  # type: ignore[assignment]
    shared.poll()
    return asked


def read(settings: Settings) -> Any:
    """What becomes of a click that is dated a minute ahead."""
    click = (
        b'{"id":"1","time":"2026-03-01T12:01:00Z","subject":"v","decision_id":"d","slot_id":"s"}'
    )
    result = reader(settings)(Topic.CLICKS, 0, b"v", click, 0, micros(START))
    return result.reason if isinstance(result, Rejected) else "read"


def released(settings: Settings) -> Any:
    """What a partition of the source begins with."""
    source: Any = SimpleNamespace(
        settings=settings.kafka,
        time=settings.time,
        metrics=SimpleNamespace(watch=lambda _: None),
        item_key=lambda part, _: part,
    )
    return vars(GroupPartition(source, "0", 0, {}, NEVER).alignment)


def gathered(settings: Settings) -> Any:
    """Until when a batch may wait for others."""
    gathering = Gathering(settings.time.gather, lambda: START)
    gathering.add(CatalogedBatch(**vars_of(Batch(0, 0, []))))
    return gathering.due


def vars_of(batch: Batch) -> dict[str, Any]:
    return {"shard": batch.shard, "watermark": batch.watermark, "events": batch.events}


def redis(settings: Settings) -> Any:
    """Where copies go."""
    place = client(settings.redis.url).connection_pool.connection_kwargs
    return vars(RedisSink(settings.redis.url))["_url"], place["host"], place["db"]


def store(settings: Settings) -> Any:
    """What the store is opened with, or how that is refused."""
    try:
        for made in Path.cwd().iterdir():
            made.unlink()
        with patch("operators.io.store.oracle.OracleStore", lambda access, _: access):
            opened = open_store(settings.store)
    except SettingsError as error:
        return str(error)
    if isinstance(opened, SqliteStore):
        opened.close()
        return sorted(path.name for path in Path.cwd().iterdir())
    return opened


def run(settings: Settings) -> Any:
    """What a flow is run with: where its metrics are, its epochs, how long a step may work."""
    seen: list[Any] = []
    with (
        patch.object(runner, "serve", lambda _, host, port: seen.append((host, port))),
        patch.object(runner, "_tune_interpreter", lambda: None),
        patch.object(runner, "begin_execution", lambda *_: Execution()),
        patch.object(Execution, "watch", lambda _, flow, timeout, steps: seen.append(timeout)),
        patch.object(runner, "cli_main", lambda _, **each: seen.append(each["epoch_interval"])),
    ):
        (runner.run if settings.state.recovery else runner.work)("persist", settings)
    return seen


def limit_of_errors(settings: Settings) -> Any:
    return vars(Quarantine(settings, FLOWS["personalize"], lambda: START, print))["_limit"]


def late(topic: Topic, record: Record) -> None:
    """One visitor's clicks are dated before their decisions, another's request long before."""
    seconds = {(Topic.CLICKS, "visitor-3"): 3, (Topic.DECISION_REQUESTS, "visitor-7"): 30}
    behind = seconds.get((topic, record["subject"]), 0)
    record["time"] = (
        datetime.fromisoformat(record["time"]) - timedelta(seconds=behind)
    ).isoformat()


def orphaned(topic: Topic, record: Record) -> None:
    """No click finds its decision."""
    if topic is Topic.CLICKS:
        record["decision_id"] = "none"


def flow(edit: Edit = nothing, slot: Record | None = None) -> Callable[[Settings], Any]:
    """What the personalize flow writes, copies in Redis included."""

    def played(settings: Settings) -> Any:
        script = Script(settings)
        written: Any = script.play(catalog_of(slot or {}), edit)
        return written, script.copies

    return played


def divided(settings: Settings) -> Any:
    """What the flow writes where an experiment divides the slot's requests."""
    experiment: Record = {
        "type": "experiment",
        "id": "e",
        "time": SLOT["time"],
        "experiment_id": "spring",
        "slot_id": "home",
        "state": "running",
        "unit": "decision",
        "baseline": "old",
        "variations": [{"id": "old", "actions": ["a"]}, {"id": "new", "actions": ["b", "c"]}],
    }
    return Script(settings).play(catalog_of(further=[experiment]))


EMBEDDED: Record = {"features": {"profile_embedding": 2}, "policy": {"kind": "logistic"}}
SASL = {"kafka_security": "SASL_SSL"}
ORACLE = {"store": "oracle:db:1521/shop", "store_user": "we", "store_password": "hush"}

SETTINGS: Mapping[str, Changed] = {
    "secret": changed("another 16 letters", flow()),
    "bootstrap_servers": changed("kafka:9092", kafka_client),
    "topic_prefix": changed("shop-", topics),
    "partitions": changed(8, topics),
    "replication": changed(3, topics),
    "kafka_security": changed("SSL", kafka_client),
    "kafka_mechanism": changed("SCRAM-SHA-512", kafka_client, **SASL),
    "kafka_username": changed("shop", kafka_client, **SASL),
    "kafka_password": changed("hush", kafka_client, **SASL),
    "kafka_ca": changed("ca.pem", kafka_client, **SASL),
    "kafka_cert": changed("cert.pem", kafka_client, **SASL),
    "kafka_key": changed("key.pem", kafka_client, **SASL),
    "kafka_options": changed({"client.id": "shop"}, kafka_client),
    "batch_size": changed(7, polled),
    "max_record_bytes": changed(10, read),
    "redis_url": changed("redis://cache:6379/1", redis),
    "redis_ttl": changed(60.0, flow()),
    "store": changed("sqlite:other.db", store),
    "store_user": changed("shop", store, **ORACLE),
    "store_password": changed("other", store, **ORACLE),
    "store_wallet": changed("/", store, **ORACLE),
    "store_wallet_password": changed("other", store, **ORACLE, store_wallet="/"),
    "store_auth": changed("InstancePrincipal", store, **ORACLE),
    "max_skew": changed(10.0, read),
    "clock_tolerance": changed(1.0, flow(late)),
    "allowed_lateness": changed(1.0, flow()),
    "idle_after": changed(9.0, released),
    "dedup_horizon": changed(10.0, flow(late)),
    "gather": changed(0.5, gathered),
    "recovery": changed("kept", lambda settings: recovery_folder(settings, "personalize")),
    "epoch": changed(9, run),
    "max_pending": changed(3, flow()),
    "max_orphans": changed(1, flow(orphaned)),
    "profile_interval": changed(30.0, flow()),
    "profile_ttl": changed(1.0, flow()),
    "factor_subjects": changed(1, flow(slot=EMBEDDED)),
    "max_processing_errors": changed(1, limit_of_errors, recovery="kept"),
    "stall_timeout": changed(9.0, run, recovery="kept"),
    "global_holdout": changed(0.5, divided),
    "metrics_host": changed("0.0.0.0", run),
    "metrics_port": changed(1234, run),
}


def test_every_setting_is_walked() -> None:
    assert set(SETTINGS) == set(TYPES)


@pytest.mark.parametrize("name", TYPES)
def test_a_setting_changes_what_is_made_of_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    each = SETTINGS[name]
    settings = load({}, **{"secret": SECRET, "partitions": 1, "gather": 0.0, **each.beside})
    before = each.seen(settings)
    if each.seen.__name__ != "played":  # the flow's script is known to give the same each time
        assert before == each.seen(settings)
    assert before != each.seen(settings.replaced(**{name: each.to}))


@pytest.mark.parametrize("name", [name for name in TYPES if SETTINGS[name].beside])
def test_without_what_it_needs_a_setting_is_said_to_do_nothing(name: str) -> None:
    each = SETTINGS[name]
    given = {"secret": SECRET, **each.beside, name: each.to}
    assert idle({f"{PREFIX}{n.upper()}": str(value) for n, value in given.items()}) == []
    alone = {"secret": SECRET, name: each.to}
    (said,) = idle({f"{PREFIX}{n.upper()}": str(value) for n, value in alone.items()})
    assert said.startswith(f"{PREFIX}{name.upper()} has no effect with")
    assert idle(environment_of(load({}, secret=SECRET))) == []
