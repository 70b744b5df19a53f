"""Settings, grouped by what they set: the only reader of the environment."""

import os
import re
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct, field

from schemas.bounds import LEAST_RECORD_BYTES
from schemas.codec import FRAMING_BYTES, MAX_RECORD_BYTES
from schemas.setting_rules import flaw_of, without_effect
from schemas.topics import Topic, partitions

PREFIX = "BANDITFLOW_"
_SECRETS = ("SECRET", "KAFKA_PASSWORD", "STORE_PASSWORD", "STORE_WALLET_PASSWORD")
_FROM_FILES = (*_SECRETS, "REDIS_URL", "KAFKA_OPTIONS")

Positive = Annotated[float, Meta(gt=0.0, le=1e9)]
Count = Annotated[int, Meta(ge=1, le=1_000_000_000)]


class SettingsError(ValueError):
    """A setting is missing or wrong; the message names its variable."""


class Group(Struct, kw_only=True, frozen=True):
    """Settings that belong together.

    A field is read from ``BANDITFLOW_<NAME>``, where its name is that of the field, or the one
    that its declaration gives.
    """

    def flat(self) -> dict[str, Any]:
        """Give every setting by the name of its variable, in lower case and without the prefix."""
        return dict(_flat(self))

    def __repr__(self) -> str:
        """Show every setting but the secret ones, by the names of their variables."""
        shown = (f"{name}={_harmless(name, value)!r}" for name, value in self.flat().items())
        return f"{type(self).__name__}({', '.join(shown)})"


class KafkaSettings(Group, kw_only=True, frozen=True):
    """Where Kafka is and who we are there; the topics, and how they are read."""

    bootstrap_servers: str = "localhost:9092"
    topic_prefix: str = ""
    partitions: Annotated[int, Meta(ge=1, le=10_000)] = 4
    """Of every event topic: the number of shards."""

    replication: Annotated[int, Meta(ge=1, le=32_767)] = 1
    security: str = field(default="PLAINTEXT", name="kafka_security")
    mechanism: str = field(default="PLAIN", name="kafka_mechanism")
    username: str = field(default="", name="kafka_username")
    password: str = field(default="", name="kafka_password")
    ca: str = field(default="", name="kafka_ca")
    cert: str = field(default="", name="kafka_cert")
    key: str = field(default="", name="kafka_key")
    options: dict[str, str] = field(default_factory=dict, name="kafka_options")
    """Further librdkafka settings, as JSON."""

    batch_size: Annotated[int, Meta(ge=1, le=1_000_000)] = 4000
    max_record_bytes: Count = MAX_RECORD_BYTES
    """Of a record that is read, and of one that is written, with its key."""

    def topic(self, topic: Topic) -> str:
        """Give the topic's name in this deployment."""
        return f"{self.topic_prefix}{topic.value}"

    @property
    def max_written_bytes(self) -> int:
        """The most bytes of a record that we write, key and framing included."""
        return max(self.max_record_bytes, LEAST_RECORD_BYTES)

    @property
    def max_value_bytes(self) -> int:
        """The most bytes of a value that we write."""
        return self.max_written_bytes - FRAMING_BYTES

    def partitions_of(self, topic: Topic) -> int:
        """Give the topic's partition count in this deployment."""
        return partitions(topic, self.partitions)


class RedisSettings(Group, kw_only=True, frozen=True):
    """Where Redis is, and how long a copy lives there."""

    url: str = field(default="redis://localhost:6379/0", name="redis_url")
    ttl: Positive = field(default=7 * 86400.0, name="redis_ttl")


class StoreSettings(Group, kw_only=True, frozen=True):
    """Which durable store, and who we are there."""

    address: str = field(default="sqlite:banditflow.db", name="store")
    """``sqlite:PATH`` or ``oracle:DSN``."""

    user: str = field(default="", name="store_user")
    password: str = field(default="", name="store_password")
    wallet: str = field(default="", name="store_wallet")
    wallet_password: str = field(default="", name="store_wallet_password")
    auth: str = field(default="password", name="store_auth")
    """``password``, or the OCI IAM token type, such as ``InstancePrincipal``."""


class EventTimeSettings(Group, kw_only=True, frozen=True):
    """How far events may be from their time, and how long they are waited for; in seconds."""

    max_skew: Positive = 300.0
    """A record dated further ahead than this, of its append and of our clock, is a dead letter."""

    clock_tolerance: Annotated[float, Meta(ge=0.0, le=300.0)] = 10.0
    """What a visitor sees or does may bear a time so much earlier than its decision's."""

    allowed_lateness: Positive = 60.0
    idle_after: Positive = 1.0
    dedup_horizon: Positive = 3600.0
    gather: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.1
    """How long on the clock attribution's events may wait for others; 0: they never do."""


class StateSettings(Group, kw_only=True, frozen=True):
    """What is kept between events: where, how often it is saved, how much and for how long."""

    recovery: str = ""
    """The folder of the recovery stores; empty: nothing survives a stop."""

    epoch: Annotated[int, Meta(ge=1, le=86_400)] = 5
    max_pending: Count = 2_000_000
    max_orphans: Count = 100_000
    profile_interval: Positive = 5.0
    profile_ttl: Positive = 90 * 86400.0
    factor_subjects: Count = 100_000
    """Subjects, and actions, whose factors are learned; beyond it the longest unseen go."""

    max_processing_errors: Count = 100
    """Records quarantined within an hour beyond which a flow stops: a fault of a release."""

    stall_timeout: Annotated[float, Meta(gt=0.0, le=86400.0)] = 120.0
    """How long a step may work on what it was given before the process is ended."""


class ExperimentSettings(Group, kw_only=True, frozen=True):
    """What holds for all experiments."""

    global_holdout: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.0
    """The share of subjects that get the baseline of every experiment, and count for none."""


class MetricsSettings(Group, kw_only=True, frozen=True):
    """Where the metrics are served."""

    host: str = field(default="127.0.0.1", name="metrics_host")
    port: Annotated[int, Meta(ge=0, le=65535)] = field(default=9464, name="metrics_port")
    """0 picks a free port."""


class Settings(Group, kw_only=True, frozen=True):
    """Everything a deployment can set; made by :func:`load`.

    Durations are in seconds. A secret, and what may hold one, may instead be read from the file
    that ``BANDITFLOW_<NAME>_FILE`` names.
    """

    secret: Annotated[str, Meta(min_length=16)]
    """Keys the pseudonyms and the draws; at least 16 characters."""

    kafka: KafkaSettings = field(default_factory=KafkaSettings)
    redis: RedisSettings = field(default_factory=RedisSettings)
    store: StoreSettings = field(default_factory=StoreSettings)
    time: EventTimeSettings = field(default_factory=EventTimeSettings)
    state: StateSettings = field(default_factory=StateSettings)
    experiments: ExperimentSettings = field(default_factory=ExperimentSettings)
    metrics: MetricsSettings = field(default_factory=MetricsSettings)

    def replaced(self, **changes: Any) -> "Settings":
        """Give a copy with changes, named as :func:`load` names them, and as carefully checked."""
        return load({}, **(self.flat() | changes))


def _flat(group: Group) -> Iterator[tuple[str, Any]]:
    for declared in msgspec.structs.fields(group):
        value = getattr(group, declared.name)
        if isinstance(value, Group):
            yield from _flat(value)
        else:
            yield declared.encode_name, value


def _types(group: type[Group]) -> Iterator[tuple[str, Any]]:
    for declared in msgspec.structs.fields(group):
        if isinstance(declared.type, type) and issubclass(declared.type, Group):
            yield from _types(declared.type)
        else:
            yield declared.encode_name, declared.type


def _made(group: type[Group], raw: Mapping[str, Any]) -> Any:
    values = {}
    for declared in msgspec.structs.fields(group):
        if isinstance(declared.type, type) and issubclass(declared.type, Group):
            values[declared.name] = _made(declared.type, raw)
        elif declared.encode_name in raw:
            value = raw[declared.encode_name]
            values[declared.name] = msgspec.convert(value, declared.type, strict=False)
    return group(**values)


TYPES: Mapping[str, Any] = dict(_types(Settings))
"""The type of every setting, by the name of its variable in lower case and without the prefix."""


def _harmless(name: str, value: Any) -> Any:
    if name.upper() in _SECRETS:
        return "***"
    if name == "kafka_options":
        return dict.fromkeys(value, "***")
    return re.sub(r"//[^/]*@", "//***@", value) if name == "redis_url" else value


def load(environment: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
    """Read the settings from the environment; ``overrides`` win.

    Overrides are named as the variables are, in lower case and without the prefix, whichever
    group a setting is in. Raises :class:`SettingsError` naming the variable that is missing or
    wrong, or the override that is not a setting. Variables of other names are left alone
    (:func:`unknown`): orchestrators inject some.

    >>> load({"BANDITFLOW_SECRET": "sixteen letters!"}, partitions=2).kafka.partitions
    2
    >>> load({"BANDITFLOW_SECRET": "sixteen letters!", "BANDITFLOW_EPOCH": "0"})
    Traceback (most recent call last):
    schemas.settings.SettingsError: BANDITFLOW_EPOCH: Expected `int` >= 1
    """
    environment = os.environ if environment is None else environment
    raw: dict[str, Any] = {}
    for name, value in environment.items():
        if name.startswith(PREFIX):
            _read(raw, name, value, environment)
    raw.update(overrides)
    for name, value in raw.items():
        _check(name, value)
    if "secret" not in raw:
        raise SettingsError(
            f"{PREFIX}SECRET is not set: it keys the pseudonyms; give at least 16 characters"
        )
    settings: Settings = _made(Settings, raw)
    return settings


def unknown(environment: Mapping[str, str] | None = None) -> list[str]:
    """Say of each variable with our prefix that is no setting which one may have been meant.

    >>> unknown({"BANDITFLOW_PARTITONS": "8"})
    ['BANDITFLOW_PARTITONS is not a setting: did you mean BANDITFLOW_PARTITIONS?']
    """
    names = [f"{PREFIX}{name.upper()}" for name in TYPES]
    names += [f"{PREFIX}{name}_FILE" for name in _FROM_FILES]
    found = []
    for name in sorted(os.environ if environment is None else environment):
        if name.startswith(PREFIX) and name not in names:
            near = get_close_matches(name, names, 1, 0.8)
            found.append(
                f"{name} is not a setting" + (f": did you mean {near[0]}?" if near else "")
            )
    return found


def idle(environment: Mapping[str, str] | None = None) -> list[str]:
    """Say of each setting that does nothing beside the others which one it needs.

    Nothing is said of settings that :func:`load` refuses.

    >>> idle({"BANDITFLOW_SECRET": "sixteen letters!", "BANDITFLOW_STORE_USER": "shop"})
    ['BANDITFLOW_STORE_USER has no effect with this BANDITFLOW_STORE']
    """
    try:
        values = load(environment).flat()
    except SettingsError:
        return []
    defaults = Settings(secret=values["secret"]).flat()
    given = {name for name, value in values.items() if value != defaults[name]}
    said = []
    for name, needed in without_effect(given, values):
        how = "with this" if values[needed] else "without"
        said.append(f"{PREFIX}{name.upper()} has no effect {how} {PREFIX}{needed.upper()}")
    return said


def environment_of(settings: Settings) -> dict[str, str]:
    """Write settings as the environment that reads back as the same settings."""
    return {
        f"{PREFIX}{name.upper()}": (
            msgspec.json.encode(value).decode() if isinstance(value, dict) else str(value)
        )
        for name, value in settings.flat().items()
    }


def child_environment(settings: Settings) -> dict[str, str]:
    """Give this process's environment with ``settings`` in it, for a child process."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    return kept | environment_of(settings)


def _read(raw: dict[str, Any], name: str, value: str, names: Collection[str]) -> None:
    variable = name.removeprefix(PREFIX)
    if variable in _FROM_FILES and f"{name}_FILE" in names:
        if not value:  # Docker Compose passes on as empty what is not set
            return
        raise SettingsError(f"{name} and {name}_FILE are both set: which one counts?")
    if variable.endswith("_FILE") and variable.removesuffix("_FILE") in _FROM_FILES:
        variable = variable.removesuffix("_FILE")
        try:
            value = Path(value).read_text(encoding="utf-8").strip()
        except OSError as error:
            shown = value if value.startswith(("/", ".")) else "it"  # maybe it is the secret itself
            raise SettingsError(f"{name}: cannot read {shown}: {error.strerror}") from error
        except ValueError as error:  # no text, or no path
            raise SettingsError(f"{name}: cannot be read: it is not UTF-8 text") from error
    lower = variable.lower()
    if lower not in TYPES:
        return
    raw[lower] = _json_or_text(name, value) if lower == "kafka_options" else value


def _json_or_text(name: str, value: str) -> Any:
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        raise SettingsError(f"{name}: not JSON: {error}") from error


def _check(name: str, value: Any) -> None:
    if name not in TYPES:
        raise SettingsError(f"{PREFIX}{name.upper()} is not a setting")
    try:
        msgspec.convert(value, TYPES[name], strict=False)
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        raise SettingsError(f"{PREFIX}{name.upper()}: {error}") from error
    flaw = flaw_of(name, value, name.upper() in _SECRETS) if isinstance(value, str) else None
    if flaw is not None:
        raise SettingsError(f"{PREFIX}{name.upper()}: {flaw}")
