"""Values at the ends of what JSON, 64 bits, the calendar and patience allow."""

from collections.abc import Callable
from random import Random

from msgspec import Raw

from tests.support.fuzz.shapes import Tree

NUMBERS = [
    "0", "-0.0", "-1", "1", "0.5", "3", "255", "65535", "65536", "2147483647", "-2147483648",
    "2147483648", "4294967295", "4294967296", "9007199254740993", "9223372036854775807",
    "-9223372036854775808", "9223372036854775808", "-9223372036854775809",
    "18446744073709551615", "18446744073709551616", "123456789012345678901234",
    "-123456789012345678901234", "9" * 400, "9" * 4000, "-" + "9" * 4400,
    "1e12", "1e15", "1e18", "1e19", "1e38", "1e39", "1e300", "1e308", "-1e308",
    "1.7976931348623157e308", "5e-324", "-5e-324", "1e-400", "1e400", "-1e400", "1e999999",
    "0." + "3" * 3000, "1.5e-7", "0.1", "1E+2", "12345678.000000001",
]  # fmt: skip
"""Numbers that JSON allows."""

NO_NUMBERS = [
    "NaN", "Infinity", "-Infinity", "nan", "inf", "01", "+1", ".5", "1.", "1e", "0x10", "--1",
    "1_000", "undefined", "True", "None", "'a'", "",
]  # fmt: skip
"""What stands where a value should, and is no JSON."""

TIMES = [
    "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00-14:00",
    "9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999-14:00",
    "9999-12-31T23:59:59+14:00", "1969-12-31T23:59:59.999999Z", "1970-01-01T00:00:00Z",
    "1970-01-01T00:00:00+14:00", "1677-09-21T00:12:43Z", "2038-01-19T03:14:08Z",
    "2199-12-31T23:59:59.999999Z", "2200-01-01T00:00:00Z", "2262-04-11T23:47:17Z",
    "2026-03-01T11:00:00", "2026-03-01 11:00:00Z", "2026-03-01T11:00:00z",
    "2026-03-01T11:00:60Z", "2026-06-30T23:59:60Z", "2026-03-01T24:00:00Z",
    "2026-02-30T00:00:00Z", "2024-02-29T12:00:00Z", "2026-03-01T11:00:00+23:59",
    "2026-03-01T11:00:00-23:59", "2026-03-01T11:00:00+24:00", "2026-03-01T11:00Z",
    "2026-03-01T11:00:00.123456789Z", "2026-03-01", "12:00:00Z", "2026-W09-7T11:00:00Z",
    "20260301T110000Z", "-0001-01-01T00:00:00Z", "0000-01-01T00:00:00Z", "10000-01-01T00:00:00Z",
    "2026-03-03T12:00:00Z", "2026-02-27T12:00:00Z", "now", "",
]  # fmt: skip
"""Times at the ends of the calendar, in odd zones, impossible ones; and two days off."""

TEXTS = [
    '""', '" "', '"\\u0000"', '"a\\u0000b"', '"\\ud800"', '"\\udfff\\ud800"', '"\\ud83d\\ude00"',
    '"\\uffff"', '"\\ufeff"', '"\\u202e"', '"a\\tb\\nc"', '"' + "x" * 256 + '"',
    '"' + "x" * 257 + '"', '"' + "\u00e9" * 256 + '"', '"' + "\U0001f600" * 256 + '"',
    '"' + "x" * 4001 + '"', '"' + "\u20ac" * 2000 + '"', '"' + "x" * 40_000 + '"',
    '"-00000000000000f"', '"0x00000000000000"', '" 000000000000ff "', '"zzzzzzzzzzzzzzzz"',
    '"\uff11\uff12\uff13\uff14\uff15\uff16\uff17\uff18\uff11\uff12\uff13\uff14\uff15\uff16\uff17\uff18"',
    '"AAAAAAAAAAA"', '"////////"', '"AACAfwAAgP8AAMB/"', '"null"', '"true"', '"1"', '"1e400"',
    '"__proto__"', '"$ref"', '"; DROP TABLE decisions; --"', '"%s%n"', '"../../etc/passwd"',
]  # fmt: skip
"""Texts, as JSON; among them base64 of numbers that are none."""

OTHERS = ["null", "true", "false", "[]", "{}", "[null]", "[[]]", '{"":null}', '[""]', "[0]"]

DEPTH = 1_000
MANY = 12_000
EXCLUDED = 20_000
LARGEST = 1_000_000


def _deep_list(_: Random) -> str:
    return "[" * DEPTH + "]" * DEPTH


def _deep_object(_: Random) -> str:
    return '{"a":' * DEPTH + "1" + "}" * DEPTH


def _many_texts(rng: Random) -> str:
    return "[" + ",".join(f'"{rng.choice("ae")}{n}"' for n in range(MANY)) + "]"


def _excluded(_: Random) -> str:
    return "[" + ",".join(f'"x{n}"' for n in range(EXCLUDED)) + "]"


def _one_text_again(_: Random) -> str:
    return "[" + ",".join(['"a0"'] * MANY) + "]"


def _many_numbers(_: Random) -> str:
    return "[" + ",".join(str(n) for n in range(MANY)) + "]"


def _many_fields(_: Random) -> str:
    return "{" + ",".join(f'"f{n}":{n}' for n in range(MANY)) + "}"


def _megabyte(_: Random) -> str:
    return '"' + "x" * LARGEST + '"'


LARGE: list[Callable[[Random], str]] = [
    _deep_list, _deep_object, _many_texts, _excluded, _one_text_again, _many_numbers,
    _many_fields, _megabyte,
]  # fmt: skip
"""Values that cost something: rarely chosen."""


LISTS = [_deep_list, _many_texts, _excluded, _one_text_again, _many_numbers]


def extreme(rng: Random, large: float) -> Tree:
    """Choose a value that a field was not made for; with the probability ``large`` a big one."""
    if rng.random() < large:
        return Raw(rng.choice(LARGE)(rng).encode())
    kind = rng.random()
    if kind < 0.4:
        return _raw(rng.choice(NUMBERS))
    if kind < 0.6:
        return _raw(f'"{rng.choice(TIMES)}"')
    if kind < 0.8:
        return _raw(rng.choice(TEXTS))
    return _raw(rng.choice(OTHERS if kind < 0.95 else NO_NUMBERS))


def extreme_like(rng: Random, value: Tree, large: float) -> Tree:
    """Choose an extreme value of the type that the field has, so that it decodes."""
    if isinstance(value, bool) or value is None:
        return extreme(rng, large)
    if isinstance(value, int | float):
        return _raw(rng.choice(NUMBERS))
    if isinstance(value, str):
        timely = value[:3] == "202" and value.endswith("Z")
        return _raw(f'"{rng.choice(TIMES)}"' if timely else rng.choice(TEXTS))
    if isinstance(value, list):
        if rng.random() < 20 * large:
            return Raw(rng.choice(LISTS)(rng).encode())
        inner = value[0] if value else "a"
        return [extreme_like(rng, inner, 0.0) for _ in range(rng.choice((1, 2, 3, 60)))]
    if isinstance(value, dict):
        if rng.random() < 10 * large:
            return Raw(_many_fields(rng).encode())
        name = rng.choice((*value, "f", "a.b", ""))
        return {**value, name: extreme(rng, large)}
    return extreme(rng, large)


def _raw(text: str) -> Raw:
    return Raw(text.encode("utf-8", "surrogatepass"))
