"""What a field of a record says beyond its type: its column in the store, its free JSON."""

from typing import Annotated, Any, get_args, get_origin

from msgspec import Meta
from msgspec.structs import FieldInfo

from schemas.bounds import CONTEXT_DEPTH, GREATEST_INTEGER, LEAST_INTEGER

_MIGRATION = "migration"
_TOLERANT = "tolerant"

TOLERANT = Meta(extra={_TOLERANT: True})
"""Says that what cannot be kept of a field of free JSON is as if missing: it refuses no record."""


def stored_since(migration: int) -> Meta:
    """Say that the store keeps a field since this migration of ``ops/sql`` (``V005__….sql``: 5).

    To be used as ``name: Annotated[str, stored_since(5)] = "default"`` in a record that is older
    than the field. The column in both databases follows from it.
    """
    return Meta(extra={_MIGRATION: migration})


def plain_type(type_: Any) -> Any:
    """Give a type without what :func:`stored_since` added to it."""
    if get_origin(type_) is not Annotated or migration_of(type_) is None:
        return type_
    bare, *rest = get_args(type_)
    others = [meta for meta in rest if not _says_migration(meta)]
    return Annotated[(bare, *others)] if others else bare


def migration_of(field: FieldInfo | Any) -> int | None:
    """Give the migration that added a field's column; None where its table always had it."""
    type_ = field.type if isinstance(field, FieldInfo) else field
    if get_origin(type_) is Annotated:
        for meta in get_args(type_)[1:]:
            if _says_migration(meta):
                return int(meta.extra[_MIGRATION])
    return None


def _says_migration(meta: Any) -> bool:
    return isinstance(meta, Meta) and bool(meta.extra) and _MIGRATION in (meta.extra or {})


def is_tolerant(extra: dict[str, Any] | None) -> bool:
    """Tell whether :data:`TOLERANT` is among what a field says."""
    return bool(extra) and _TOLERANT in (extra or {})


def free_json(levels: int = CONTEXT_DEPTH) -> Any:
    """Make the type of a JSON object whose values every later step can write and read.

    Integers have 64 bits; lists and objects lie in at most ``levels`` levels, this one included.
    """
    integer = Annotated[int, Meta(ge=LEAST_INTEGER, le=GREATEST_INTEGER)]
    scalar: Any = integer | float | str | bool | None
    value = scalar
    for _ in range(levels - 1):
        value = scalar | list[value] | dict[str, value]  # type: ignore[valid-type]
    return dict[str, value]  # type: ignore[valid-type]
