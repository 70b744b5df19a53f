"""Makes records that cannot be used, one kind for each way to be wrong."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

Record = dict[str, Any]
Spoil = Callable[[Record, np.random.Generator], bytes]

OVERSIZE = 1_000_001
"""Bytes of a record that is one too long for the codec's default limit."""

DEPTH = 20_000
"""Levels of nesting that no parser follows."""


def malformed(kind: str, rng: np.random.Generator, good: Mapping[str, Any] | None = None) -> bytes:
    """Spoil a record (a decision request unless ``good`` is given) in the way of ``kind``.

    ``good`` has at least ``id``, ``time``, ``subject`` and ``slot_id``. The kinds of
    ``OF_REQUESTS`` are flaws of decision requests only.

    >>> malformed("time_without_zone", np.random.default_rng(0), {"time": "2026-01-01T00:00:00Z"})
    b'{"time": "2026-01-01T00:00:00"}'
    """
    return KINDS[kind](dict(_request(rng) if good is None else good), rng)


def _request(rng: np.random.Generator) -> Record:
    number = int(rng.integers(2**48))
    return {
        "id": f"malformed-{number:012x}",
        "time": datetime.now(UTC).isoformat(),
        "subject": f"visitor-{number % 5000}",
        "slot_id": "home-hero",
        "decision_id": f"malformed-{number:012x}",
        "context": {"o": [0.1, -0.2, 0.3, 0.4], "device": "d0"},
    }


def _with(**fields: Any) -> Spoil:
    def spoil(good: Record, rng: np.random.Generator) -> bytes:  # noqa: ARG001
        return _json(good | fields)

    return spoil


def _without(field: str) -> Spoil:
    def spoil(good: Record, rng: np.random.Generator) -> bytes:  # noqa: ARG001
        return _json({name: value for name, value in good.items() if name != field})

    return spoil


def _literal(field: str, text: str) -> Spoil:
    """Put a text that JSON does not know, or cannot hold, in the place of a value."""

    def spoil(good: Record, rng: np.random.Generator) -> bytes:  # noqa: ARG001
        return _json(good | {field: "@"}).replace(b'"@"', text.encode())

    return spoil


def _always(payload: bytes) -> Spoil:
    def spoil(good: Record, rng: np.random.Generator) -> bytes:  # noqa: ARG001
        return payload

    return spoil


def _shifted(days: float) -> Spoil:
    def spoil(good: Record, rng: np.random.Generator) -> bytes:  # noqa: ARG001
        time = datetime.fromisoformat(good["time"]) + timedelta(days=days)
        return _json(good | {"time": time.isoformat()})

    return spoil


def _zoneless(good: Record, rng: np.random.Generator) -> bytes:  # noqa: ARG001
    time = datetime.fromisoformat(good["time"]).replace(tzinfo=None)
    return _json(good | {"time": time.isoformat()})


def _truncated(good: Record, rng: np.random.Generator) -> bytes:
    payload = _json(good)
    return payload[: int(rng.integers(1, len(payload)))]


def _noise(good: Record, rng: np.random.Generator) -> bytes:  # noqa: ARG001
    return b"\xff" + rng.bytes(int(rng.integers(1, 200)))


def _invalid_utf8(good: Record, rng: np.random.Generator) -> bytes:  # noqa: ARG001
    return _json(good | {"id": "@@"}).replace(b"@@", b"\xc3\x28")


def _deep(good: Record, rng: np.random.Generator) -> bytes:
    return _literal("context", '{"a":' * DEPTH + "1" + "}" * DEPTH)(good, rng)


def _oversize(good: Record, rng: np.random.Generator) -> bytes:  # noqa: ARG001
    padding = OVERSIZE - len(_json(good | {"source": ""}))
    return _json(good | {"source": "x" * max(padding, 1)})


def _trailing(good: Record, rng: np.random.Generator) -> bytes:  # noqa: ARG001
    return _json(good) + b"}"


def _array(good: Record, rng: np.random.Generator) -> bytes:  # noqa: ARG001
    return _json([good])


def _utf16(good: Record, rng: np.random.Generator) -> bytes:  # noqa: ARG001
    return json.dumps(good).encode("utf-16")


def _single_quotes(good: Record, rng: np.random.Generator) -> bytes:  # noqa: ARG001
    return str(good).encode()


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


KINDS: dict[str, Spoil] = {
    "empty": _always(b""),
    "null": _always(b"null"),
    "number": _always(b"42"),
    "text": _always(b"click me"),
    "array": _array,
    "single_quotes": _single_quotes,
    "truncated": _truncated,
    "trailing_brace": _trailing,
    "noise": _noise,
    "invalid_utf8": _invalid_utf8,
    "utf16": _utf16,
    "deep_nesting": _deep,
    "oversize": _oversize,
    "nan": _literal("time", "NaN"),
    "infinity": _literal("source", "-Infinity"),
    "bare_word": _literal("slot_id", "undefined"),
    "no_id": _without("id"),
    "no_time": _without("time"),
    "no_subject": _without("subject"),
    "no_slot": _without("slot_id"),
    "id_number": _with(id=17),
    "id_empty": _with(id=""),
    "id_too_long": _with(id="x" * 257),
    "source_too_long": _with(source="x" * 257),
    "subject_list": _with(subject=["visitor-1"]),
    "subject_null": _with(subject=None),
    "slot_object": _with(slot_id={"name": "home-hero"}),
    "decision_id_number": _with(decision_id=1.5),
    "time_number": _with(time=1767225600),
    "time_in_words": _with(time="yesterday at noon"),
    "time_impossible": _with(time="2026-02-30T00:00:00Z"),
    "time_zero": _with(time="0001-01-01T00:00:00Z"),
    "time_zero_ahead": _with(time="0001-01-01T00:00:00+14:00"),
    "time_last": _with(time="9999-12-31T23:59:59-14:00"),
    "time_overflow": _literal("time", "1e999"),
    "time_without_zone": _zoneless,
    "time_in_future": _shifted(days=365),
    "unknown_slot": _with(slot_id="no-such-slot"),
    "time_long_past": _shifted(days=-365),
    "context_list": _with(context=[1, 2, 3]),
    "actions_too_many": _with(actions=[f"hero-{number}" for number in range(1001)]),
    "actions_text": _with(actions="hero-01"),
    "excluded_numbers": _with(excluded=[1, 2]),
    "deferred_text": _with(deferred="yes"),
}
"""Every way to spoil a record, by the name of the kind."""

OF_REQUESTS = frozenset(
    {
        "unknown_slot",
        "time_long_past",
        "context_list",
        "actions_too_many",
        "actions_text",
        "excluded_numbers",
        "deferred_text",
    }
)
"""The kinds that only a decision request can have."""
