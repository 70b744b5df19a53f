"""The store's tables, declared once for all databases: columns, keys, which of two rows stays.

A column is filled by the record's field of the same name, or by the one that it names; the rows
(:mod:`operators.io.store.rows`) and SQLite's schema follow from the columns, ``ops/sql`` is checked
against them.

A row is a tuple in the order of its table's columns, in neutral values: times are whole
microseconds since 1970 (UTC), JSON is text, a vector is the bytes of little-endian float32
numbers. An empty text is stored as NULL, because Oracle cannot tell the two apart.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, get_args, get_origin

from msgspec import Struct
from msgspec.structs import fields

from schemas.events import Decision
from schemas.fields import migration_of, plain_type
from schemas.results import Outcome, PolicySnapshot


class Kind(StrEnum):
    """What a column holds, whatever the database calls it."""

    TEXT = "text"
    LONG_TEXT = "long text"
    TIME = "time"
    REAL = "real"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    JSON = "json"
    VECTOR = "vector"


@dataclass(frozen=True, slots=True)
class Column:
    """A column; ``required`` columns are never NULL, a ``blank`` text is "" where it is NULL.

    ``field`` names the field of the record that fills it, where that has another name. A column
    that was added later than its table stands after the others: ``since`` is the number of the
    migration of ``ops/sql`` that adds it, ``default`` what older rows say (NULL where it is None).
    """

    name: str
    kind: Kind = Kind.TEXT
    required: bool = True
    blank: bool = False
    field: str = ""
    since: int = 0
    default: str | float | None = None

    @property
    def source(self) -> str:
        """The field of the record that fills the column."""
        return self.field or self.name


@dataclass(frozen=True)
class Table:
    """A table with its key.

    Of two rows with the same key a table of facts keeps the first; a table of states (``newer`` is
    not empty) keeps the one that is greater by these columns, and of equal ones the last, or where
    it says ``keeps_first`` the first.
    """

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    newer: tuple[str, ...] = ()
    keeps_first: bool = False
    positions: dict[str, int] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        positions = {column.name: at for at, column in enumerate(self.columns)}
        object.__setattr__(self, "positions", positions)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns, in order."""
        return tuple(self.positions)

    def identity(self, row: tuple[Any, ...]) -> tuple[Any, ...]:
        """Give the row's key."""
        return tuple(row[self.positions[name]] for name in self.key)

    def is_newer(self, row: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
        """Tell whether a row takes the place of another with its key that came before it."""
        new, old = self.version(row), self.version(other)
        return bool(self.newer) and (new > old or (new == old and not self.keeps_first))

    def version(self, row: tuple[Any, ...]) -> tuple[Any, ...]:
        """Give what decides between two rows of the same key; empty for a fact."""
        return tuple(row[self.positions[name]] for name in self.newer)


def text(name: str, field: str = "") -> Column:
    """Declare a text that is always there."""
    return Column(name, field=field)


def optional(name: str, kind: Kind = Kind.TEXT) -> Column:
    """Declare a column that may be NULL, which reads back as None."""
    return Column(name, kind, required=False)


def blank(name: str) -> Column:
    """Declare a text that may be empty, which reads back as an empty text."""
    return Column(name, required=False, blank=True)


def real(name: str) -> Column:
    """Declare a 64-bit float."""
    return Column(name, Kind.REAL)


def integer(name: str, field: str = "") -> Column:
    """Declare a 64-bit integer."""
    return Column(name, Kind.INTEGER, field=field)


def boolean(name: str) -> Column:
    """Declare a truth value."""
    return Column(name, Kind.BOOLEAN)


def time(name: str) -> Column:
    """Declare a time in UTC, exact to the microsecond."""
    return Column(name, Kind.TIME)


def json(name: str) -> Column:
    """Declare a JSON document."""
    return Column(name, Kind.JSON)


_KINDS: dict[Any, Kind] = {
    str: Kind.TEXT,
    datetime: Kind.TIME,
    float: Kind.REAL,
    int: Kind.INTEGER,
    bool: Kind.BOOLEAN,
}


def later_columns(record: type[Struct]) -> Iterator[Column]:
    """Give the columns of the fields that say :func:`~schemas.fields.stored_since`, oldest first.

    What is no plain value is stored as JSON.
    """
    later = [(since, each) for each in fields(record) if (since := migration_of(each))]
    for since, each in sorted(later, key=lambda pair: pair[0]):
        names = [type_ for type_ in _members(plain_type(each.type)) if type_ is not NoneType]
        kind = _KINDS.get(names[0], Kind.JSON) if len(names) == 1 else Kind.JSON
        default = each.default
        if default is None or default == "":
            blank = default == ""
            yield Column(each.name, kind, required=False, blank=blank, since=since)
        elif isinstance(default, str | float | int):
            yield Column(each.name, kind, since=since, default=default)
        elif each.default_factory is list:
            yield Column(each.name, Kind.JSON, required=False, since=since)
        else:
            raise TypeError(f"{record.__name__}.{each.name}: a later field needs a plain default")


def _members(type_: Any) -> tuple[Any, ...]:
    if get_origin(type_) is Annotated:
        return _members(get_args(type_)[0])
    if isinstance(type_, UnionType):
        return tuple(member for each in get_args(type_) for member in _members(each))
    return (str,) if get_origin(type_) is Literal else (type_,)


SLOTS = Table(
    "slots",
    (
        text("slot_id"),
        time("time"),
        text("event_id", field="id"),
        boolean("deleted"),
        text("policy"),
        real("reward_window"),
        json("settings"),
    ),
    key=("slot_id",),
    newer=("time", "event_id"),
    keeps_first=True,
)

ACTIONS = Table(
    "actions",
    (
        text("action_id"),
        time("time"),
        text("event_id", field="id"),
        boolean("deleted"),
        boolean("enabled"),
        json("slots"),
        json("features"),
        optional("content", Kind.JSON),
        optional("embedding", Kind.VECTOR),
        optional("dimension", Kind.INTEGER),
    ),
    key=("action_id",),
    newer=("time", "event_id"),
    keeps_first=True,
)

EXPERIMENTS = Table(
    "experiments",
    (
        text("experiment_id"),
        time("time"),
        text("event_id", field="id"),
        boolean("deleted"),
        boolean("enabled"),
        text("slot_id"),
        json("settings"),
    ),
    key=("experiment_id",),
    newer=("time", "event_id"),
    keeps_first=True,
)

USER_PROFILES = Table(
    "user_profiles",
    (
        text("subject"),
        integer("version"),
        time("time"),
        boolean("deleted"),
        json("purposes"),
        json("features"),
        optional("embedding", Kind.VECTOR),
        optional("dimension", Kind.INTEGER),
    ),
    key=("subject",),
    newer=("version", "time"),
)

DECISIONS = Table(
    "decisions",
    (
        text("decision_key", field="key"),
        text("decision_id"),
        text("event_id", field="id"),
        optional("subject"),
        text("slot_id"),
        text("action_id"),
        time("time"),
        optional("decided_at", Kind.TIME),
        time("expires_at"),
        real("propensity"),
        json("ranking"),
        text("policy"),
        integer("policy_version"),
        optional("policy_time", Kind.TIME),
        optional("baseline_action_id"),
        optional("experiment_id"),
        optional("variation_id"),
        text("learning_mode"),
        boolean("deferred"),
        optional("features", Kind.VECTOR),
        real("eta"),
        real("draw"),
        blank("request_hash"),
        *later_columns(Decision),
    ),
    key=("decision_key",),
)

ACTION_CONTENTS = Table(
    "action_contents",
    (text("content", field="hash"), Column("features", Kind.JSON, field="text")),
    key=("content",),
)

OUTCOMES = Table(
    "outcomes",
    (
        text("decision_key", field="key"),
        integer("version"),
        integer("revision"),
        text("status"),
        text("decision_id"),
        optional("subject"),
        text("slot_id"),
        text("action_id"),
        time("time"),
        optional("settled_at", Kind.TIME),
        real("propensity"),
        real("reward"),
        boolean("activated"),
        optional("delay", Kind.REAL),
        blank("policy"),
        integer("policy_version"),
        blank("reason"),
        optional("experiment_id"),
        optional("variation_id"),
        real("eta"),
        *later_columns(Outcome),
    ),
    key=("decision_key",),
    newer=("version", "time"),
)

POLICY_SNAPSHOTS = Table(
    "policy_snapshots",
    (
        text("slot_id"),
        integer("version"),
        text("policy"),
        time("time"),
        optional("published_at", Kind.TIME),
        real("decisions"),
        real("rewards"),
        json("actions"),
        Column("posterior", Kind.LONG_TEXT, required=False, blank=True),
        json("models"),
        *later_columns(PolicySnapshot),
    ),
    key=("slot_id",),
    newer=("version", "time"),
)

POLICY_CHECKPOINTS = Table(
    "policy_checkpoints",
    (
        text("slot_id"),
        integer("generation"),
        integer("part"),
        integer("parts"),
        time("time"),
        integer("version"),
        real("decisions"),
        real("rewards"),
        Column("state", Kind.LONG_TEXT),
    ),
    key=("slot_id", "generation", "part"),
    newer=("time",),
)

EXPERIMENT_RESULTS = Table(
    "experiment_results",
    (text("experiment_id"), time("time"), text("slot_id"), json("summary")),
    key=("experiment_id", "time"),
)

DEAD_LETTERS = Table(
    "dead_letters",
    (
        text("topic"),
        integer("topic_partition", field="partition"),
        integer("topic_offset", field="offset"),
        text("reason"),
        optional("field"),
        blank("detail"),
        optional("time", Kind.TIME),
        integer("payload_bytes", field="size"),
        text("payload_sha256", field="hash"),
    ),
    key=("topic", "topic_partition", "topic_offset"),
)

OPTIMIZED_CONTENT = Table(
    "optimized_content",
    (
        text("slot_id"),
        text("segment"),
        time("time"),
        text("action_id"),
        optional("experiment_id"),
        optional("policy_version", Kind.INTEGER),
        optional("probability", Kind.REAL),
        optional("content", Kind.JSON),
        blank("reason"),
    ),
    key=("slot_id", "segment", "time"),
)

DELIVERIES = Table(
    "deliveries",
    (
        text("delivery_id"),
        integer("revision"),
        text("status"),
        time("time"),
        optional("updated_at", Kind.TIME),
        text("channel"),
        optional("subject"),
        text("slot_id"),
        text("action_id"),
        optional("decision_id"),
        integer("attempts"),
        blank("reason"),
    ),
    key=("delivery_id",),
    newer=("revision", "time"),
)

ERASURES = Table(
    "erasures",
    (
        text("receipt_id"),
        text("event_id"),
        text("subject"),
        time("time"),
        time("completed_at"),
        json("removed"),
    ),
    key=("receipt_id",),
)

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        SLOTS,
        ACTIONS,
        EXPERIMENTS,
        USER_PROFILES,
        DECISIONS,
        ACTION_CONTENTS,
        OUTCOMES,
        POLICY_SNAPSHOTS,
        POLICY_CHECKPOINTS,
        EXPERIMENT_RESULTS,
        OPTIMIZED_CONTENT,
        DELIVERIES,
        ERASURES,
        DEAD_LETTERS,
    )
}
"""Every table in the order in which a transaction writes them; dead letters come last."""
