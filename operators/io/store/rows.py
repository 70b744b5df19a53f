"""Records of the topics as rows of the store's tables, and what a transaction writes.

A row follows from its table's columns (:mod:`operators.io.store.tables`): each is filled by the
record's field that it names. Only what is no field's value is computed here.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, NamedTuple, TypeVar, cast

import msgspec
import numpy as np
from msgspec import NODEFAULT, Meta, Raw, Struct
from msgspec.inspect import IntType, NoneType, StrType, UnionType, type_info
from msgspec.structs import fields

from operators.io.store.tables import (
    ACTIONS,
    DEAD_LETTERS,
    DECISIONS,
    DELIVERIES,
    ERASURES,
    EXPERIMENT_RESULTS,
    EXPERIMENTS,
    OPTIMIZED_CONTENT,
    OUTCOMES,
    POLICY_CHECKPOINTS,
    POLICY_SNAPSHOTS,
    SLOTS,
    USER_PROFILES,
    Column,
    Kind,
    Table,
)
from operators.logic.deciding.contents import ActionContent, read_content
from schemas.bounds import DETAIL_LENGTH, GREATEST_INTEGER, LEAST_INTEGER
from schemas.catalog import Action, Experiment, Slot
from schemas.clock import EARLIEST, LATEST, micros
from schemas.events import Decision
from schemas.fields import plain_type
from schemas.results import (
    DeadLetter,
    Delivery,
    ErasureReceipt,
    OptimizedContent,
    Outcome,
    PolicyCheckpoint,
    PolicySnapshot,
    Profile,
    TestReport,
)

Row = tuple[Any, ...]
T = TypeVar("T", bound=Struct)

NOT_STORED: dict[str, dict[str, str]] = {
    "decisions": {
        "source": "the writer's name is free text for people",
        "type": "all rows say the same",
        "mapping": "the slot's settings say what the features mean",
        "subject_window": "it tells decisions of one visitor, who may not have consented to that",
    },
    "outcomes": {
        "features": "its decision has them",
        "mapping": "its decision's slot says what the features mean",
    },
    "actions": {
        "source": "the writer's name is free text for people",
        "subject": "the catalog is of no visitor",
        "neighbours": "the topic has them; they are made anew from the embeddings",
    },
}
"""By table, the fields of its records that have no column, each with the reason."""

_ENCODE = msgspec.json.Encoder().encode
_STATUS = {"pending": 0, "settled": 1, "void": 2}
_LONGEST_TEXT = 256


class RecordPlace(NamedTuple):
    """Where a record lies: topic, partition, offset, the broker's timestamp in microseconds."""

    topic: str
    partition: int
    offset: int
    time: int
    payload: bytes


def stored_form(record: type[T], table: Table, **types: Any) -> type[T]:
    """Give a record's type as the store reads it: with what its columns can hold.

    Texts are as long as their columns allow and integers have 64 bits, so that a record that does
    not fit is refused by the name of its field and costs no transaction. ``types`` replaces the
    types of fields.
    """
    columns = {column.source: column for column in table.columns}
    changed: list[tuple[str, Any, Any]] = []
    for field in fields(record):
        type_ = types.get(field.name)
        if type_ is None and field.name in columns:
            type_ = _bounded(plain_type(field.type), columns[field.name])
        if type_ is not None:
            default = field.default
            if default is NODEFAULT and field.default_factory is not NODEFAULT:
                default = msgspec.field(default_factory=field.default_factory)
            changed.append((field.name, type_, default))
    made = msgspec.defstruct(
        f"Stored{record.__name__}", changed, bases=(record,), kw_only=True, gc=False
    )
    return cast("type[T]", made)


def _bounded(type_: Any, column: Column) -> Any:
    """Bound a text or an integer to what its column holds; None where the type is good as it is."""
    info = type_info(type_)
    members = info.types if isinstance(info, UnionType) else (info,)
    bounded: Any = None
    match [each for each in members if not isinstance(each, NoneType)]:
        case [StrType() as text] if column.kind is Kind.TEXT:
            least = max(text.min_length or 0, int(column.required))
            most = min(text.max_length or _LONGEST_TEXT, _LONGEST_TEXT)
            bounded = Annotated[str, Meta(min_length=least, max_length=most, pattern=text.pattern)]
        case [IntType() as number] if column.kind is Kind.INTEGER:
            least = LEAST_INTEGER if number.ge is None else number.ge
            most = GREATEST_INTEGER if number.le is None else number.le
            bounded = Annotated[int, Meta(ge=least, le=most)]
    return bounded | None if len(members) > 1 and bounded is not None else bounded


StoredDecision = stored_form(Decision, DECISIONS, ranking=Raw, features=bytes | None)
"""A decision whose ranking stays JSON and whose features are the bytes of the context vector."""

_Revision = Annotated[int, Meta(ge=0, le=GREATEST_INTEGER // 4 - 1)]
_Key = Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]

StoredOutcome = stored_form(Outcome, OUTCOMES, key=_Key, revision=_Revision)
"""An outcome whose key and revision are checked; the database checks the rest."""

StoredProfile = stored_form(Profile, USER_PROFILES)
StoredPolicySnapshot = stored_form(PolicySnapshot, POLICY_SNAPSHOTS)
StoredPolicyCheckpoint = stored_form(PolicyCheckpoint, POLICY_CHECKPOINTS)
StoredReport = stored_form(TestReport, EXPERIMENT_RESULTS)
StoredDeadLetter = stored_form(DeadLetter, DEAD_LETTERS, detail=str)
"""A dead letter, whose detail is cut to what its column holds."""


def row_maker(
    record: type[Struct], table: Table, **computed: Callable[[Any], Any]
) -> Callable[[Any], Row]:
    """Make the function from a record to its row; ``computed`` fills columns by their names.

    It is compiled from the columns, as fast as one written by hand. Raises TypeError naming a
    column that nothing fills.
    """
    types = {field.name: field.type for field in fields(record)}
    values: list[str] = []
    for column in table.columns:
        if column.name in computed:
            values.append(f"computed[{column.name!r}](record)")
        elif column.source in types:
            bytes_ = types[column.source] == bytes | None
            form = _OR_NONE if bytes_ else _FORMS[column.kind][column.required]
            values.append(form.format(f"record.{column.source}"))
        else:
            raise TypeError(
                f"{table.name}.{column.name}: {record.__name__} has no field {column.source!r}: "
                "let the column name its field, or compute it in operators/io/store/rows.py"
            )
    names = {"computed": computed, "micros": micros, "json": _json, "vector": vector_bytes}
    made: Callable[[Any], Row] = eval(f"lambda record: ({', '.join(values)},)", names)
    return made


_AS_IT_IS = "{0}"
_OR_NONE = "{0} or None"
_FORMS: dict[Kind, tuple[str, str]] = {
    Kind.TEXT: (_OR_NONE, _AS_IT_IS),
    Kind.LONG_TEXT: (_OR_NONE, _AS_IT_IS),
    Kind.TIME: ("None if {0} is None else micros({0})", "micros({0})"),
    Kind.REAL: (_AS_IT_IS, _AS_IT_IS),
    Kind.INTEGER: (_AS_IT_IS, _AS_IT_IS),
    Kind.BOOLEAN: (_AS_IT_IS, _AS_IT_IS),
    Kind.JSON: ("None if {0} is None else json({0})", "json({0})"),
    Kind.VECTOR: ("vector({0})", "vector({0})"),
}
"""How a field's value becomes a neutral one, by kind: in a column that may be NULL, or not."""


def vector_bytes(vector: Sequence[float] | None) -> bytes | None:
    """Give a vector as float32 bytes; one without length or direction counts as none.

    Raises ValueError naming the field where a number does not fit.

    >>> vector_bytes([1.0, 0.5]).hex(), vector_bytes([0.0, 0.0])
    ('0000803f0000003f', None)
    """
    if not vector:
        return None
    with np.errstate(over="ignore"):
        numbers = np.asarray(vector, dtype="<f4")
    if not np.isfinite(numbers).all():
        raise ValueError("embedding: a number is too large for float32")
    return numbers.tobytes() if numbers.any() else None


def _json(value: Any) -> str:
    return _ENCODE(value).decode()


def _dimension(record: Profile | Action) -> int | None:
    embedding = vector_bytes(record.embedding)
    return None if embedding is None else len(embedding) // 4


def _version(outcome: Outcome) -> int:
    """Order the reports on a decision; at equal revisions, void beats settled."""
    return outcome.revision * 4 + _STATUS[outcome.status]


def _living(make: Callable[[Profile], Any], deleted: Any) -> Callable[[Profile], Any]:
    """Keep nothing of the subject of a deleted profile."""
    return lambda profile: deleted if profile.deleted else make(profile)


def _hashes(decision: Decision) -> str | None:
    """Name the content of each action whose features the decision holds."""
    hashes = {action_id: content.hash for action_id, content in _contents(decision)}
    return _json(hashes) if hashes else None


def content_rows(decision: Decision) -> list[Row]:
    """Give the rows of the features that a decision holds, one for each content."""
    texts = {content.hash: content.text.decode() for _, content in _contents(decision)}
    return list(texts.items())


def _contents(decision: Decision) -> Iterator[tuple[str, ActionContent]]:
    for logged in decision.contents or ():
        content = read_content(bytes(logged.features))
        if isinstance(content, ActionContent):
            yield logged.action_id, content


def _context(decision: Decision) -> str | None:
    """Write the context that a decision holds as it is learned from."""
    content = read_content(_ENCODE(decision.context)) if decision.context else None
    return content.text.decode() if isinstance(content, ActionContent) else None


_OUTCOME_ROW = row_maker(Outcome, OUTCOMES, version=_version)
_ROWS: dict[type, tuple[Table, Callable[[Any], Row]]] = {
    StoredDecision: (
        DECISIONS,
        row_maker(StoredDecision, DECISIONS, contents=_hashes, context=_context),
    ),
    StoredOutcome: (OUTCOMES, _OUTCOME_ROW),
    Outcome: (OUTCOMES, _OUTCOME_ROW),
    Profile: (
        USER_PROFILES,
        row_maker(
            Profile,
            USER_PROFILES,
            features=_living(lambda profile: _json(profile.features), "{}"),
            embedding=_living(lambda profile: vector_bytes(profile.embedding), None),
            dimension=_living(_dimension, None),
        ),
    ),
    PolicySnapshot: (POLICY_SNAPSHOTS, row_maker(PolicySnapshot, POLICY_SNAPSHOTS)),
    PolicyCheckpoint: (POLICY_CHECKPOINTS, row_maker(PolicyCheckpoint, POLICY_CHECKPOINTS)),
    Slot: (SLOTS, row_maker(Slot, SLOTS, policy=lambda slot: slot.policy.kind, settings=_json)),
    Action: (ACTIONS, row_maker(Action, ACTIONS, dimension=_dimension)),
    Experiment: (EXPERIMENTS, row_maker(Experiment, EXPERIMENTS, settings=_json)),
    TestReport: (EXPERIMENT_RESULTS, row_maker(TestReport, EXPERIMENT_RESULTS)),
    OptimizedContent: (OPTIMIZED_CONTENT, row_maker(OptimizedContent, OPTIMIZED_CONTENT)),
    Delivery: (DELIVERIES, row_maker(Delivery, DELIVERIES)),
    ErasureReceipt: (ERASURES, row_maker(ErasureReceipt, ERASURES)),
    DeadLetter: (
        DEAD_LETTERS,
        row_maker(
            DeadLetter,
            DEAD_LETTERS,
            detail=lambda letter: letter.detail[:DETAIL_LENGTH] or None,
        ),
    ),
}


_ROWS |= {
    stored: _ROWS[record]
    for stored, record in (
        (StoredProfile, Profile),
        (StoredPolicySnapshot, PolicySnapshot),
        (StoredPolicyCheckpoint, PolicyCheckpoint),
        (StoredReport, TestReport),
        (StoredDeadLetter, DeadLetter),
    )
}


def row_of(record: Struct) -> tuple[Table, Row]:
    """Give the table and the row of a record that the store keeps.

    >>> from datetime import UTC, datetime
    >>> report = TestReport(
    ...     experiment_id="e", slot_id="home", time=datetime(2026, 1, 1, tzinfo=UTC)
    ... )
    >>> table, row = row_of(report)
    >>> table.name, row
    ('experiment_results', ('e', 1767225600000000, 'home', '{}'))
    """
    table, make = _ROWS[type(record)]
    return table, make(record)


def refusal_row(place: RecordPlace, reason: str, field: str | None, detail: str) -> Row:
    """Give the dead letter of a record that cannot be stored, which never quotes the record."""
    return (
        place.topic,
        place.partition,
        place.offset,
        reason,
        field or None,
        detail[:DETAIL_LENGTH] or None,
        place.time if EARLIEST < place.time < LATEST else None,
        len(place.payload),
        hashlib.sha256(place.payload).hexdigest(),
    )
