"""What to do about a database error, by its code."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum

import oracledb

from operators.io.store.protocol import StoreError, StoreUnavailable


class Verdict(Enum):
    """What an error asks for."""

    RETRY = "retry"
    """The same transaction may succeed a little later on the same connection."""

    RECONNECT = "reconnect"
    """The connection is gone, and whether a commit took effect is not known."""

    REFUSED = "refused"
    """The row is at fault: it becomes a dead letter."""

    STOP = "stop"
    """Waiting does not help."""


_RETRY = {
    1,  # a MERGE lost the race to insert its key: it will find the row
    51, 54, 60, 104, 4020, 4021, 8177, 30006,  # locks, deadlock, serialisation
    1555, 1562, 30036,  # undo
    1536, 1652, 1653, 1654, 1688, 1691, 12954,  # no space until someone makes some
    3136, 12850, 12853,  # resources
    51815,  # the vector index's journal is full for now
}  # fmt: skip
_RECONNECT = {
    18, 20, 28, 376, 600, 603, 604, 1012, 1033, 1034, 1089, 1090, 1092, 1109, 1115, 2396,
    2399, 3113, 3114, 3135, 12153, 12170, 12514, 12516, 12518, 12519, 12520, 12521, 12526,
    12527, 12528, 12537, 12541, 12543, 12545, 12547, 12560, 12570, 12571, 12583, 12757, 16456,
    25408, 25409,
}  # fmt: skip
_REFUSED = {
    1400, 1401, 1407, 1426, 1438, 1439, 1458, 1461, 1465, 1480, 1483, 1489, 1722, 2290, 2291,
    2292, 12704, 12713, 12714, 12899, 14300, 14400, 14401, 17002, 21525, 22835, 24381, 29275,
}  # fmt: skip
_REFUSED_RANGES = ((1830, 1899), (40440, 40499), (40570, 40599), (51800, 51814))
"""Date and time values; JSON; vectors."""

_DRIVER = {
    "DPY-1001": Verdict.RECONNECT,  # not connected
    "DPY-1002": Verdict.RECONNECT,  # the pool was closed
    "DPY-4005": Verdict.RETRY,  # every connection of the pool is in use
    "DPY-4011": Verdict.RECONNECT,  # the connection was closed
    "DPY-4024": Verdict.RECONNECT,  # the call took longer than its timeout
    "DPY-6000": Verdict.RECONNECT,  # the listener refused
    "DPY-6001": Verdict.RECONNECT,  # the service is not registered
    "DPY-6003": Verdict.RECONNECT,  # the SID is not registered
    "DPY-6005": Verdict.RECONNECT,  # no connection
    "DPY-2004": Verdict.REFUSED,  # a value out of range
    "DPY-2013": Verdict.REFUSED,
    "DPY-3002": Verdict.REFUSED,  # a Python value that has no database type
    "DPY-3003": Verdict.REFUSED,
    "DPY-3013": Verdict.REFUSED,
    "DPY-4003": Verdict.REFUSED,  # a number or date that Oracle cannot hold
    "DPY-4004": Verdict.REFUSED,
}
_OLD_SCHEMA = {904, 942}  # no such column, no such table
_CREDENTIALS = {1005, 1017, 1045, 28000, 28001, 28002}
_COLUMN = re.compile(r'"[^"]+"\."[^"]+"\."([^"]+)"')


def details(error: Exception) -> oracledb._Error | None:
    """Give the driver's description of an error, if it has one."""
    found = error.args[0] if error.args else None
    return found if hasattr(found, "full_code") else None


def verdict(full_code: str, code: int, recoverable: bool) -> Verdict:
    """Say what an error asks for; an unknown code that the driver calls recoverable reconnects.

    >>> verdict("ORA-12899", 12899, False), verdict("ORA-00942", 942, False)
    (<Verdict.REFUSED: 'refused'>, <Verdict.STOP: 'stop'>)
    """
    if full_code in _DRIVER:
        return _DRIVER[full_code]
    if full_code.startswith("ORA-"):
        if code in _RETRY:
            return Verdict.RETRY
        if code in _RECONNECT:
            return Verdict.RECONNECT
        if code in _REFUSED or any(low <= code <= high for low, high in _REFUSED_RANGES):
            return Verdict.REFUSED
    return Verdict.RECONNECT if recoverable else Verdict.STOP


def verdict_of(error: oracledb._Error) -> Verdict:
    """Say what a driver's error asks for."""
    return verdict(error.full_code or "", error.code, error.isrecoverable)


def column_of(message: str) -> str | None:
    """Find the column that a message names; the message itself may quote values.

    >>> column_of('ORA-12899: value too large for column "BF"."OUTCOMES"."REASON" (actual: 300)')
    'reason'
    """
    found = _COLUMN.search(message)
    return found.group(1).lower() if found else None


@contextmanager
def translated() -> Iterator[None]:
    """Turn the driver's errors into the store's."""
    try:
        yield
    except oracledb.Error as error:
        found = details(error)
        if found is None:
            raise StoreError(f"{type(error).__name__}: {error}") from error
        if verdict_of(found) in (Verdict.RETRY, Verdict.RECONNECT):
            text = first_line(found.message).removeprefix(f"{found.full_code}: ")
            if error.__cause__ is not None:
                text = f"{text} {first_line(str(error.__cause__))}"
            raise StoreUnavailable(found.full_code, text) from error
        raise StoreError(f"{first_line(found.message)}{_advice(found.code)}") from error


def first_line(message: str) -> str:
    """Give a message without the link that the driver appends."""
    return message.partition("\n")[0]


def _advice(code: int) -> str:
    if code in _OLD_SCHEMA:
        return ": run `banditflow store migrate`"
    if code in _CREDENTIALS:
        return ": see BANDITFLOW_STORE_USER and BANDITFLOW_STORE_PASSWORD"
    return ""
