"""Settings: read from the environment alone, refused by name, and never telling a secret."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.setting_rules import flaw_of
from schemas.settings import (
    PREFIX,
    TYPES,
    Group,
    Settings,
    SettingsError,
    child_environment,
    environment_of,
    load,
)

DOCUMENT = Path(__file__).parents[2] / "docs" / "reference" / "settings.md"
SECRET = "sixteen letters!"
SECRETS = ("secret", "kafka_password", "store_password", "store_wallet_password")
TEXTS = [name for name, kind in TYPES.items() if kind is str]


def environment(**values: str) -> dict[str, str]:
    return {f"{PREFIX}{name.upper()}": value for name, value in values.items()}


def test_without_a_secret_nothing_starts() -> None:
    with pytest.raises(SettingsError, match="BANDITFLOW_SECRET is not set"):
        load({})


def test_what_is_not_set_has_its_default() -> None:
    assert load(environment(secret=SECRET)) == Settings(secret=SECRET)


def test_the_process_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BANDITFLOW_SECRET", SECRET)
    monkeypatch.setenv("BANDITFLOW_REDIS_TTL", "60")
    assert load().redis.ttl == 60.0
    assert load(redis_ttl=5.0).redis.ttl == 5.0


def texts(name: str) -> st.SearchStrategy[str]:
    """What the setting may be, where that is not any text."""
    known = {
        "bootstrap_servers": ["kafka", "kafka:9092, [::1]:9093", "PLAINTEXT://10.0.0.1:9092"],
        "kafka_security": ["PLAINTEXT", "SASL_SSL"],
        "redis_url": ["redis://cache", "rediss://user:p%23ss@cache:6380/0", "unix:///run/valkey"],
        "store": ["sqlite::memory:", "oracle:db.example.com:1521/FREEPDB1"],
        "topic_prefix": ["", "shop-1.", "a_b"],
        "metrics_host": ["0.0.0.0", "localhost", "::1"],
    }
    if name in known:
        return st.sampled_from(known[name])
    return st.text(max_size=30).filter(lambda text: flaw_of(name, text, name in SECRETS) is None)


@given(
    st.fixed_dictionaries(
        {
            "secret": st.text(
                st.characters(codec="utf-8", exclude_characters="\0"), min_size=16, max_size=40
            )
        },
        optional={
            **{name: texts(name) for name in TEXTS},
            "kafka_options": st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=3),
            "partitions": st.integers(1, 1000),
            "epoch": st.integers(1, 60),
            "redis_ttl": st.floats(1e-3, 1e9),
            "max_skew": st.floats(1e-3, 1e9),
            "metrics_port": st.integers(0, 65535),
        },
    )
)
def test_settings_survive_the_way_through_an_environment(values: dict[str, Any]) -> None:
    settings = load({}, **values)
    assert load(environment_of(settings)) == settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("secret", "too short"),
        ("epoch", "0"),
        ("epoch", "1.5"),
        ("partitions", "four"),
        ("redis_ttl", "-1"),
        ("redis_ttl", "0"),
        ("metrics_port", "65536"),
        ("kafka_options", "linger.ms=5"),
        ("kafka_options", '{"linger.ms": 5}'),
        ("kafka_options", "[]"),
        ("kafka_options", "[" * 100_000),
        ("kafka_options", "\udcff"),
        ("epoch", "86401"),
        ("partitions", "9" * 5000),
        ("replication", "32768"),
        ("batch_size", "1000001"),
        ("max_pending", "\udcff"),
        ("max_skew", "nan"),
        ("topic_prefix", "shop/"),
        ("topic_prefix", "é"),
        ("recovery", "/var/\x1b[31m"),
        ("recovery", "/var/\udcff"),
        ("recovery", " "),
        ("recovery", "x" * 5000),
        ("bootstrap_servers", ""),
        ("bootstrap_servers", "kafka:9092,"),
        ("bootstrap_servers", "kafka:0"),
        ("bootstrap_servers", "kafka:90920"),
        ("bootstrap_servers", "http://kafka:9092"),
        ("bootstrap_servers", "kafka 9092"),
        ("kafka_security", "TLS"),
        ("redis_url", "cache:6379"),
        ("redis_url", "http://cache"),
        ("redis_url", "redis://"),
        ("redis_url", "redis://my cache:6379/0"),
        ("redis_url", "redis://cache:port/0"),
        ("redis_url", "redis://cache:0/0"),
        ("redis_url", "redis://cache:99999/0"),
        ("redis_url", "redis://cache/first"),
        ("redis_url", "redis://user:too#short@cache:6379/0"),
        ("store", "mysql:shop"),
        ("store", "sqlite:"),
        ("store", "banditflow.db"),
        ("metrics_host", ""),
        ("metrics_host", "http://0.0.0.0"),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_variable(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"^BANDITFLOW_{name.upper()}: ") as refused:
        load(environment(**{"secret": SECRET, name: value}))
    assert "too short" not in str(refused.value)
    assert "short@" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_unknown_override_is_refused_by_name() -> None:
    with pytest.raises(SettingsError, match="BANDITFLOW_SPEED is not a setting"):
        load(environment(secret=SECRET), speed=9)


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_can_come_from_a_file(name: str, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("read from a file\n")
    values = {"secret": SECRET} if name != "secret" else {}
    settings = load(environment(**values, **{f"{name}_file": str(path)}))
    assert settings.flat()[name] == "read from a file"


@pytest.mark.parametrize("content", [b"", b"short", b"\xff\xfe\x00\x01" * 8, b"\0" * 32, None])
def test_a_secret_file_that_holds_none_is_refused(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(SettingsError, match=r"^BANDITFLOW_SECRET(_FILE)?: "):
        load(environment(secret_file=str(path)))


def test_a_secret_and_its_file_are_one_too_many(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(SECRET)
    with pytest.raises(SettingsError, match=r"^BANDITFLOW_SECRET and BANDITFLOW_SECRET_FILE are"):
        load(environment(secret=SECRET, secret_file=str(path)))


def test_an_empty_variable_beside_its_file_is_not_set(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(SECRET)
    for first, second in (("secret", "secret_file"), ("secret_file", "secret")):
        values = {"secret": "", "secret_file": str(path)}
        given = environment(**{name: values[name] for name in (first, second)})
        assert load(given).secret == SECRET


def test_a_secret_in_the_place_of_its_file_is_not_shown() -> None:
    with pytest.raises(SettingsError, match=r"^BANDITFLOW_SECRET_FILE: cannot read it") as refused:
        load(environment(secret_file="unspoken-unspoken"))
    assert "unspoken" not in str(refused.value)


def test_a_missing_secret_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^BANDITFLOW_SECRET_FILE: cannot read .*nowhere"):
        load(environment(secret_file=str(tmp_path / "nowhere")))


def test_a_secret_is_never_shown() -> None:
    secrets = {name: f"unspoken-{name}-unspoken" for name in SECRETS}
    settings = load({}, **secrets)
    groups = (settings.kafka, settings.store)
    for shown in (repr(settings), str(settings), f"{settings}", repr([settings])):
        assert "unspoken" not in shown
        assert "redis_url='redis://localhost:6379/0'" in shown
    assert not any("unspoken" in shown for group in groups for shown in (repr(group), str(group)))


def test_a_password_within_an_address_is_not_shown() -> None:
    settings = load(
        {},
        secret=SECRET,
        redis_url="rediss://user:unspoken@cache:6380/0",
        kafka_options={"sasl.oauthbearer.client.secret": "unspoken", "linger.ms": "5"},
    )
    assert "unspoken" not in repr(settings)
    assert "cache:6380" in repr(settings)


def test_a_child_has_these_settings_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BANDITFLOW_SECRET_FILE", "/nowhere")
    monkeypatch.setenv("BANDITFLOW_TOPIC_PREFIX", "other-")
    monkeypatch.setenv("LANG", "C.UTF-8")
    settings = load({}, secret=SECRET, epoch=7)
    given = child_environment(settings)
    assert given["LANG"] == "C.UTF-8"
    assert load(given) == settings


def test_a_changed_copy_is_checked_as_the_first_was() -> None:
    settings = load({}, secret=SECRET, kafka_options={"linger.ms": "5"}, gather=0.0)
    changed = settings.replaced(topic_prefix="other-", epoch=7)
    assert (changed.kafka.topic_prefix, changed.state.epoch) == ("other-", 7)
    assert changed.replaced(topic_prefix="", epoch=settings.state.epoch) == settings
    with pytest.raises(SettingsError, match="BANDITFLOW_SPEED is not a setting"):
        settings.replaced(speed=9)
    with pytest.raises(SettingsError, match=r"^BANDITFLOW_PARTITIONS: "):
        settings.replaced(partitions=0)


def test_every_setting_is_documented_with_its_default() -> None:
    rows = re.findall(r"^\| `BANDITFLOW_(\w+)` \| ([^|]*)\|", DOCUMENT.read_text(), re.M)
    documented = {name.lower(): default.strip().strip("`") for name, default in rows}
    defaults = Settings(secret=SECRET).flat() | {"secret": "required"}
    assert len(rows) == len(documented)
    assert documented == {name: _default(value) for name, value in defaults.items()}


def test_the_document_groups_the_settings_as_the_code_does() -> None:
    sections = [
        {name.lower() for name in re.findall(r"^\| `BANDITFLOW_(\w+)`", section, re.M)}
        for section in DOCUMENT.read_text().split("\n## ")[1:]
    ]
    settings = Settings(secret=SECRET)
    groups = [getattr(settings, name) for name in settings.__struct_fields__]
    named = [set(group.flat()) for group in groups if isinstance(group, Group)]
    assert sections == [{"secret"}, *named]


def _default(value: Any) -> str:
    return "" if value in ("", {}) else str(value).removesuffix(".0")
