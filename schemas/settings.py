"""Settings: the only reader of the environment."""

import os
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from schemas.codec import MAX_RECORD_BYTES
from schemas.topics import Topic, partitions

PREFIX = "BANDITFLOW_"
_SECRETS = ("SECRET", "KAFKA_PASSWORD", "STORE_PASSWORD", "STORE_WALLET_PASSWORD")
_FROM_FILES = (*_SECRETS, "REDIS_URL", "KAFKA_OPTIONS")

Positive = Annotated[float, Meta(gt=0.0)]
Count = Annotated[int, Meta(ge=1)]


class SettingsError(ValueError):
    """A setting is missing or wrong; the message names its variable."""


class Settings(Struct, kw_only=True, frozen=True):
    """Everything a deployment can set; each field is read from ``BANDITFLOW_<FIELD>``.

    Durations are in seconds. A secret, and what may hold one, may instead be read from the file
    that ``BANDITFLOW_<FIELD>_FILE`` names.
    """

    secret: Annotated[str, Meta(min_length=16)]
    """Keys the pseudonyms and the draws; at least 16 characters."""

    bootstrap_servers: str = "localhost:9092"
    topic_prefix: str = ""
    partitions: Count = 4
    replication: Count = 1
    kafka_security: str = "PLAINTEXT"
    kafka_mechanism: str = "PLAIN"
    kafka_username: str = ""
    kafka_password: str = ""
    kafka_ca: str = ""
    kafka_cert: str = ""
    kafka_key: str = ""
    kafka_options: dict[str, str] = {}
    """Further librdkafka settings, as JSON."""

    redis_url: str = "redis://localhost:6379/0"
    redis_ttl: Positive = 7 * 86400.0
    store: str = "sqlite:banditflow.db"
    """``sqlite:PATH`` or ``oracle:DSN``."""

    store_user: str = ""
    store_password: str = ""
    store_wallet: str = ""
    store_wallet_password: str = ""
    store_auth: str = "password"
    """``password``, or the OCI IAM token type, such as ``InstancePrincipal``."""

    recovery: str = ""
    """The folder of the recovery stores; empty: nothing survives a stop."""

    epoch: Annotated[int, Meta(ge=1)] = 5
    batch_size: Count = 1000
    gather: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.025
    """How long on the clock attribution's events may wait for others; 0: they never do."""

    max_record_bytes: Count = MAX_RECORD_BYTES
    max_skew: Positive = 300.0
    """A record further ahead of the broker's clock than this is a dead letter."""

    allowed_lateness: Positive = 60.0
    idle_after: Positive = 1.0
    dedup_horizon: Positive = 3600.0
    max_pending: Count = 2_000_000
    max_orphans: Count = 100_000
    profile_interval: Positive = 5.0
    profile_ttl: Positive = 90 * 86400.0
    factor_subjects: Count = 100_000
    """Subjects whose factors are learned; beyond it the longest unseen are forgotten."""

    metrics_host: str = "127.0.0.1"
    metrics_port: Annotated[int, Meta(ge=0, le=65535)] = 9464
    """0 picks a free port."""

    def topic(self, topic: Topic) -> str:
        """Give the topic's name in this deployment."""
        return f"{self.topic_prefix}{topic.value}"

    def partitions_of(self, topic: Topic) -> int:
        """Give the topic's partition count in this deployment."""
        return partitions(topic, self.partitions)

    def __repr__(self) -> str:
        """Show every setting but the secret ones."""
        shown = ((name, getattr(self, name)) for name in self.__struct_fields__)
        return f"Settings({', '.join(f'{name}={_harmless(name, x)!r}' for name, x in shown)})"


def _harmless(name: str, value: Any) -> Any:
    if name.upper() in _SECRETS:
        return "***"
    if name == "kafka_options":
        return dict.fromkeys(value, "***")
    return re.sub(r"//[^/]*@", "//***@", value) if name == "redis_url" else value


def load(environment: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
    """Read the settings from the environment; ``overrides`` win.

    Raises :class:`SettingsError` naming the variable that is missing or wrong, or the override
    that is not a setting. Variables of other names are left alone (:func:`unknown`): orchestrators
    inject some.

    >>> load({"BANDITFLOW_SECRET": "sixteen letters!", "BANDITFLOW_EPOCH": "0"})
    Traceback (most recent call last):
    schemas.settings.SettingsError: BANDITFLOW_EPOCH: Expected `int` >= 1
    """
    environment = os.environ if environment is None else environment
    raw: dict[str, Any] = {}
    for name, value in environment.items():
        if name.startswith(PREFIX):
            _read(raw, name, value)
    raw.update(overrides)
    for name, value in raw.items():
        _check(name, value)
    if "secret" not in raw:
        raise SettingsError(
            f"{PREFIX}SECRET is not set: it keys the pseudonyms; give at least 16 characters"
        )
    return msgspec.convert(raw, Settings, strict=False)


def unknown(environment: Mapping[str, str] | None = None) -> list[str]:
    """Say of each variable with our prefix that is no setting which one may have been meant.

    >>> unknown({"BANDITFLOW_PARTITONS": "8"})
    ['BANDITFLOW_PARTITONS is not a setting: did you mean BANDITFLOW_PARTITIONS?']
    """
    names = [f"{PREFIX}{name.upper()}" for name in Settings.__struct_fields__]
    names += [f"{PREFIX}{name}_FILE" for name in _FROM_FILES]
    found = []
    for name in sorted(os.environ if environment is None else environment):
        if name.startswith(PREFIX) and name not in names:
            near = get_close_matches(name, names, 1, 0.8)
            found.append(
                f"{name} is not a setting" + (f": did you mean {near[0]}?" if near else "")
            )
    return found


def environment_of(settings: Settings) -> dict[str, str]:
    """Write settings as the environment that reads back as the same settings."""
    values = {name: getattr(settings, name) for name in settings.__struct_fields__}
    return {
        f"{PREFIX}{name.upper()}": (
            msgspec.json.encode(value).decode() if isinstance(value, dict) else str(value)
        )
        for name, value in values.items()
    }


def child_environment(settings: Settings) -> dict[str, str]:
    """Give this process's environment with ``settings`` in it, for a child process."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    return kept | environment_of(settings)


def _read(raw: dict[str, Any], name: str, value: str) -> None:
    field = name.removeprefix(PREFIX)
    if field.endswith("_FILE") and field.removesuffix("_FILE") in _FROM_FILES:
        field = field.removesuffix("_FILE")
        try:
            value = Path(value).read_text().strip()
        except OSError as error:
            raise SettingsError(f"{name}: cannot read {value}: {error.strerror}") from error
    lower = field.lower()
    if lower not in Settings.__struct_fields__:
        return
    raw[lower] = _json_or_text(name, value) if lower == "kafka_options" else value


def _json_or_text(name: str, value: str) -> Any:
    try:
        return msgspec.json.decode(value)
    except msgspec.DecodeError as error:
        raise SettingsError(f"{name}: not JSON: {error}") from error


_TYPES = {field.name: field.type for field in msgspec.structs.fields(Settings)}


def _check(name: str, value: Any) -> None:
    if name not in _TYPES:
        raise SettingsError(f"{PREFIX}{name.upper()} is not a setting")
    try:
        msgspec.convert(value, _TYPES[name], strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{PREFIX}{name.upper()}: {error}") from error
