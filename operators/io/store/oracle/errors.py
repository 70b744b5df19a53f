"""What to do about a database error, by its code."""

import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum

import oracledb

from operators.io.store.protocol import StoreError, StoreUnavailable


class ErrorClass(Enum):
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
    "DPY-1001": ErrorClass.RECONNECT,  # not connected
    "DPY-1002": ErrorClass.RECONNECT,  # the pool was closed
    "DPY-4005": ErrorClass.RETRY,  # every connection of the pool is in use
    "DPY-4011": ErrorClass.RECONNECT,  # the connection was closed
    "DPY-4024": ErrorClass.RECONNECT,  # the call took longer than its timeout
    "DPY-6000": ErrorClass.RECONNECT,  # the listener refused
    "DPY-6001": ErrorClass.RECONNECT,  # the service is not registered
    "DPY-6003": ErrorClass.RECONNECT,  # the SID is not registered
    "DPY-6005": ErrorClass.RECONNECT,  # no connection
    "DPY-2004": ErrorClass.REFUSED,  # a value out of range
    "DPY-2013": ErrorClass.REFUSED,
    "DPY-3002": ErrorClass.REFUSED,  # a Python value that has no database type
    "DPY-3003": ErrorClass.REFUSED,
    "DPY-3013": ErrorClass.REFUSED,
    "DPY-4003": ErrorClass.REFUSED,  # a number or date that Oracle cannot hold
    "DPY-4004": ErrorClass.REFUSED,
}
_OLD_SCHEMA = {904, 942}  # no such column, no such table
_FILES_OF_TLS = ("X509", "PEM")
"""The parts of OpenSSL that read a wallet's files."""

_OF_THE_WALLET = ("PEM lib", "DPY-2018")
"""Signs of a file that cannot be read, or not with this password, and of one that is missing."""

_WALLET = "see BANDITFLOW_STORE_WALLET and BANDITFLOW_STORE_WALLET_PASSWORD"
_CREDENTIALS = {1005, 1017, 1045, 28000, 28001, 28002}
_COLUMN = re.compile(r'"[^"]+"\."[^"]+"\."([^"]+)"')


def details(error: Exception) -> oracledb._Error | None:
    """Give the driver's description of an error, if it has one."""
    first = error.args[0] if error.args else None
    return first if hasattr(first, "full_code") else None


def error_class(full_code: str, code: int, recoverable: bool) -> ErrorClass:
    """Say what an error asks for; an unknown code that the driver calls recoverable reconnects.

    >>> error_class("ORA-12899", 12899, False), error_class("ORA-00942", 942, False)
    (<ErrorClass.REFUSED: 'refused'>, <ErrorClass.STOP: 'stop'>)
    """
    if full_code in _DRIVER:
        return _DRIVER[full_code]
    if full_code.startswith("ORA-"):
        if code in _RETRY:
            return ErrorClass.RETRY
        if code in _RECONNECT:
            return ErrorClass.RECONNECT
        if code in _REFUSED or any(low <= code <= high for low, high in _REFUSED_RANGES):
            return ErrorClass.REFUSED
    return ErrorClass.RECONNECT if recoverable else ErrorClass.STOP


def error_class_of(error: oracledb._Error) -> ErrorClass:
    """Say what a driver's error asks for."""
    return error_class(error.full_code or "", error.code, error.isrecoverable)


def column_of(message: str) -> str | None:
    """Find the column that a message names; the message itself may quote values.

    >>> column_of('ORA-12899: value too large for column "BF"."OUTCOMES"."REASON" (actual: 300)')
    'reason'
    """
    match = _COLUMN.search(message)
    return match.group(1).lower() if match else None


@contextmanager
def translated() -> Iterator[None]:
    """Turn the driver's errors into the store's."""
    try:
        yield
    except (socket.gaierror, ConnectionError, TimeoutError) as error:
        raise StoreUnavailable("DPY-6005", str(error.strerror or error).lower()) from error
    except oracledb.Error as error:
        known = details(error)
        if known is None:
            raise StoreError(f"{type(error).__name__}: {error}") from error
        reason = first_line(str(error.__cause__))
        files = getattr(error.__cause__, "library", None) in _FILES_OF_TLS
        if files or any(sign in reason for sign in _OF_THE_WALLET):
            raise StoreError(unusable_wallet(reason)) from error
        if error_class_of(known) in (ErrorClass.RETRY, ErrorClass.RECONNECT):
            text = first_line(known.message).removeprefix(f"{known.full_code}: ")
            if error.__cause__ is not None:
                text = f"{text} {reason}"
            if isinstance(error.__cause__, ssl.SSLError):
                text = f"{text}: {_WALLET}"
            raise StoreUnavailable(known.full_code, text) from error
        raise StoreError(f"{first_line(known.message)}{_advice(known)}") from error


def unusable_wallet(reason: str) -> str:
    """Say that the wallet's files cannot be used, and which settings name them."""
    return f"the wallet cannot be used: {reason}: {_WALLET}"


def first_line(message: str) -> str:
    """Give a message without the link that the driver appends."""
    return message.partition("\n")[0]


def _advice(known: oracledb._Error) -> str:
    if known.code in _OLD_SCHEMA:
        return ": run `banditflow store migrate`"
    if known.code in _CREDENTIALS:
        return ": see BANDITFLOW_STORE_USER and BANDITFLOW_STORE_PASSWORD"
    if (known.full_code or "").startswith("DPY-"):  # of the driver's own: how it was called
        return ": see BANDITFLOW_STORE, and BANDITFLOW_STORE_WALLET for names of the wallet's"
    return ""
