"""What the text of a setting must look like, beside its type; flaws are named without the value."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

MAX_LENGTH = 4096
"""Characters of a text: more is in no path, address or password."""

_SERVER = re.compile(r"(?:[A-Z_]+://)?(?:\[[0-9A-Fa-f:.%]+\]|[\w.-]+)(?::(\d{1,5}))?", re.ASCII)
_TOPIC_PREFIX = re.compile(r"[a-zA-Z0-9._-]{0,200}")
_SECURITY = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def flaw_of(name: str, text: str, is_secret: bool = False) -> str | None:
    """Say what is wrong with the text of a setting; None where nothing is.

    >>> flaw_of("kafka_security", "TLS")
    'expected PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL'
    """
    if any("\ud800" <= character <= "\udfff" for character in text):
        return "is not UTF-8"
    if len(text) > MAX_LENGTH:
        return f"is longer than {MAX_LENGTH} characters"
    if "\0" in text or (not is_secret and _CONTROL.search(text)):
        return "holds a control character"
    if text != text.strip() and not is_secret:
        return "begins or ends with a space"
    rule = _RULES.get(name)
    return rule(text) if rule is not None else None


def without_effect(given: Collection[str], values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Name the settings that were given and do nothing, and what they need of another.

    ``values`` are those of all settings.

    >>> list(without_effect({"kafka_username"}, {"kafka_security": "SSL"}))
    [('kafka_username', 'kafka_security')]
    """
    for name, (other, has_effect) in _NEEDS.items():
        if name in given and not has_effect(values[other]):
            yield name, other


def _servers(text: str) -> str | None:
    for server in text.split(","):
        known = _SERVER.fullmatch(server.strip())
        if known is None or not 1 <= int(known[1] or 9092) <= 65535:
            return "expected host:port, or several of them separated by commas"
    return None


def _topic_prefix(text: str) -> str | None:
    if _TOPIC_PREFIX.fullmatch(text):
        return None
    return "a topic's name has only ASCII letters, digits, '.', '_' and '-'; at most 200 before it"


def _security(text: str) -> str | None:
    return None if text.upper() in _SECURITY else _one_of(*_SECURITY)


def _redis_url(text: str) -> str | None:
    expected = "expected redis://host:port/0, rediss://user:password@host:port/0 or unix:///path"
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        return f"{expected}; its port is none (is a '#', '/' or '?' of the password not escaped?)"
    if url.scheme not in ("redis", "rediss", "unix") or re.search(r"\s", text):
        return expected
    if url.scheme == "unix":
        return None if url.path.strip("/") else expected
    if not url.hostname or port == 0 or not re.fullmatch(r"/?\d{0,5}", url.path):
        return expected
    return None


def _store(text: str) -> str | None:
    kind, _, address = text.partition(":")
    known = kind in ("sqlite", "oracle") and address.strip()
    return None if known else "expected sqlite:PATH or oracle:DSN"


def _metrics_host(text: str) -> str | None:
    known = re.fullmatch(r"[\w.:%-]+", text, re.ASCII)
    return None if known else "expected a name or an address of this machine, such as 127.0.0.1"


def _one_of(*values: str) -> str:
    return f"expected {', '.join(values[:-1])} or {values[-1]}"


_Needs = tuple[str, Callable[[str], bool]]

_SASL: _Needs = ("kafka_security", lambda text: text.upper().startswith("SASL"))
_TLS: _Needs = ("kafka_security", lambda text: text.upper().endswith("SSL"))
_ORACLE: _Needs = ("store", lambda text: text.startswith("oracle:"))

_NEEDS: Mapping[str, _Needs] = {
    **dict.fromkeys(("kafka_mechanism", "kafka_username", "kafka_password"), _SASL),
    **dict.fromkeys(("kafka_ca", "kafka_cert", "kafka_key"), _TLS),
    **dict.fromkeys(("store_user", "store_password", "store_wallet", "store_auth"), _ORACLE),
    "store_wallet_password": ("store_wallet", bool),
    "max_processing_errors": ("recovery", bool),
    "stall_timeout": ("recovery", bool),
}
"""What a setting needs of another, to do anything: which, and a value for which this holds."""

_RULES: Mapping[str, Callable[[str], str | None]] = {
    "bootstrap_servers": _servers,
    "topic_prefix": _topic_prefix,
    "kafka_security": _security,
    "redis_url": _redis_url,
    "store": _store,
    "metrics_host": _metrics_host,
}
