"""What a field of a record says beyond its type: since when the store has a column for it."""

from typing import Annotated, Any, get_args, get_origin

from msgspec import Meta
from msgspec.structs import FieldInfo

_MIGRATION = "migration"


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
