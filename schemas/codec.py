"""Bytes to records and back; a bad record becomes a :class:`Flaw`, never an exception.

Typed msgspec decoders serve every topic (2 to 3 times as fast as orjson and a check by hand, see
``docs/performance.md``); orjson encodes what holds NumPy values, for people and scripts.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from types import UnionType
from typing import Any, get_args

import msgspec
import orjson
from msgspec import Struct
from msgspec.inspect import DateTimeType, type_info
from msgspec.inspect import UnionType as UnionInfo
from msgspec.json import Decoder, Encoder
from msgspec.structs import fields

from schemas.bounds import LEAST_RECORD_BYTES
from schemas.choices import choices
from schemas.clock import in_calendar
from schemas.leniency import Leniency
from schemas.topics import APPLICATIONS, TOPICS, Topic

MAX_RECORD_BYTES = 1_000_000
"""A record above this size is not parsed."""

FRAMING_BYTES = 2_000
"""Room beside the value of a record that we write, for its key and the broker's framing."""

MAX_VALUE_BYTES = MAX_RECORD_BYTES - FRAMING_BYTES
"""The most bytes of a value that we write, where the settings say nothing else."""


OUTSIDE_CALENDAR = "before 1970 or after 2199"


class Flaw(Struct, frozen=True):
    """Why a record could not be decoded: a bounded ``reason``, the field, a sentence."""

    reason: str
    field: str | None = None
    detail: str = ""


class RecordDecoder:
    """Reads the JSON of one type of record, or of a union of types, and checks its times."""

    def __init__(self, type_: Any) -> None:
        self.read = Decoder(type_).decode
        """Reads the form alone, as strictly as it is declared."""
        self.choices = choices(type_)
        """The values of fields that may have some values only, by path."""
        self._leniency = Leniency(type_)
        records = get_args(type_) if isinstance(type_, UnionType) else (type_,)
        self._times = {record: tuple(_times(record)) for record in records}

    def read_leniently(self, payload: bytes) -> Struct:
        """Read the form, too, where only a null or a number of a context was in the way.

        Raises :class:`msgspec.DecodeError` and others, as ``read`` does.
        """
        try:
            record: Struct = self.read(payload)
        except msgspec.ValidationError:
            rewritten = self._leniency.rewritten(payload)
            if rewritten is None:
                raise
            record = self.read(rewritten)
        return record

    def flaw(self, record: Struct) -> Flaw | None:
        """Say which time of a record lies outside the calendar; None where none does."""
        for name in self._times[type(record)]:
            time = getattr(record, name)
            if time is not None and not in_calendar(time):
                return Flaw("invalid_value", name, OUTSIDE_CALENDAR)
        return None


def _times(record: type[Struct]) -> Iterator[str]:
    """Name the fields of a record that are times; what it nests has none."""
    for field in fields(record):
        type_ = type_info(field.type)
        members = type_.types if isinstance(type_, UnionInfo) else (type_,)
        if any(isinstance(member, DateTimeType) for member in members):
            yield field.name


DECODERS: dict[Topic, RecordDecoder] = {
    topic: RecordDecoder(spec.decoded) for topic, spec in TOPICS.items() if spec.record is not None
}
"""What reads a record of each topic."""

_ENCODER = Encoder()
_PATH = re.compile(r" - at (?:`key` in )?`\$\.?([^`]*)`$")
_QUOTED = re.compile(r"'[^']*'")
"""A value of the record, quoted in an error: it may hold a raw id."""
_MISSING = re.compile(r"missing required field `([^`]*)`")


def record_limit(topic: Topic, limit: int) -> int:
    """Say how many bytes of a record of the topic are read where the settings say ``limit``.

    What we write ourselves is always read up to the least that the largest record needs.

    >>> record_limit(Topic.CLICKS, 10), record_limit(Topic.DECISIONS, 10)
    (10, 400000)
    """
    written_by_others = APPLICATIONS in TOPICS[topic].writers
    return limit if written_by_others else max(limit, LEAST_RECORD_BYTES)


def decode(topic: Topic, payload: bytes | None, limit: int = MAX_RECORD_BYTES) -> Any:
    """Read one record of ``topic``; what cannot be read comes back as a :class:`Flaw`.

    >>> decode(Topic.CLICKS, b'{"id": "e1", "time": 5}')
    Flaw(reason='wrong_type', field='time', detail='Expected `datetime`, got `int`')
    >>> decode(Topic.CLICKS, b"{")
    Flaw(reason='not_json', field=None, detail='Input data was truncated')
    """
    return decode_with(DECODERS[topic], payload, limit)


def decode_with(
    decoder: RecordDecoder, payload: bytes | None, limit: int = MAX_RECORD_BYTES
) -> Any:
    """Read one record with this decoder; what cannot be read comes back as a :class:`Flaw`."""
    if not payload:
        return Flaw("empty")
    if len(payload) > limit:
        return Flaw("too_large", detail=f"{len(payload)} bytes, the limit is {limit}")
    try:
        record = decoder.read_leniently(payload)
        return decoder.flaw(record) or record
    except msgspec.ValidationError as error:
        return _validation_flaw(str(error), decoder.choices)
    except UnicodeDecodeError:
        return Flaw("invalid_utf8")
    except RecursionError:
        return Flaw("too_deep", detail="nested deeper than the parser goes")
    except msgspec.DecodeError as error:
        message = str(error)
        return Flaw("invalid_utf8" if "utf-8" in message.lower() else "not_json", detail=message)


def decode_many(
    decoder: RecordDecoder, payloads: Iterable[bytes | None], limit: int = MAX_RECORD_BYTES
) -> list[Any]:
    """Read records as :func:`decode_with` reads each, at half of its overhead.

    Except for their times: the caller compares these, and asks :meth:`RecordDecoder.flaw` about a
    record whose times look odd.
    """
    read = decoder.read
    records: list[Any] = []
    for payload in payloads:
        try:
            if payload and len(payload) <= limit:
                records.append(read(payload))
                continue
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass  # read once more, to say what is wrong
        records.append(decode_with(decoder, payload, limit))
    return records


def encode(record: Struct) -> bytes:
    """Write one record as UTF-8 JSON."""
    return _ENCODER.encode(record)


def encode_for_people(value: Any) -> str:
    """Write any value, records and NumPy arrays included, as indented JSON."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    return orjson.dumps(value, default=msgspec.to_builtins, option=options).decode()


def _validation_flaw(message: str, allowed: Mapping[str, str]) -> Flaw:
    path = _PATH.search(message)
    text = _QUOTED.sub("…", message[: path.start()] if path else message)
    field: str | None = (path.group(1) or None) if path else None
    if field and field in allowed and text.startswith("Invalid enum value"):
        return Flaw("invalid_value", field, f"must be one of {allowed[field]}")
    missing = _MISSING.search(text)
    if missing:
        inner = missing.group(1)
        return Flaw("missing_field", f"{field}.{inner}" if field else inner, text)
    if "timezone" in text:
        return Flaw("time_without_zone", field, text)
    if text.startswith("Expected") and ", got" in text:
        return Flaw("wrong_type", field, text)
    return Flaw("invalid_value", field, text)
