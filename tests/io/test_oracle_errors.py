"""What each error code leads to, those included that no test server gives."""

import oracledb
import pytest

from operators.io.store.oracle.errors import ErrorClass, column_of, error_class, translated
from operators.io.store.protocol import StoreError, StoreUnavailable

CODES = [
    ("ORA-00001", ErrorClass.RETRY),
    ("ORA-00054", ErrorClass.RETRY),
    ("ORA-00060", ErrorClass.RETRY),
    ("ORA-08177", ErrorClass.RETRY),
    ("ORA-01653", ErrorClass.RETRY),
    ("ORA-12954", ErrorClass.RETRY),
    ("ORA-51815", ErrorClass.RETRY),
    ("DPY-4005", ErrorClass.RETRY),
    ("ORA-00028", ErrorClass.RECONNECT),
    ("ORA-01033", ErrorClass.RECONNECT),
    ("ORA-03113", ErrorClass.RECONNECT),
    ("ORA-12514", ErrorClass.RECONNECT),
    ("ORA-12541", ErrorClass.RECONNECT),
    ("DPY-4011", ErrorClass.RECONNECT),
    ("DPY-4024", ErrorClass.RECONNECT),
    ("DPY-6005", ErrorClass.RECONNECT),
    ("ORA-01400", ErrorClass.REFUSED),
    ("ORA-01438", ErrorClass.REFUSED),
    ("ORA-02290", ErrorClass.REFUSED),
    ("ORA-12899", ErrorClass.REFUSED),
    ("ORA-14300", ErrorClass.REFUSED),
    ("ORA-40441", ErrorClass.REFUSED),
    ("ORA-51803", ErrorClass.REFUSED),
    ("ORA-00942", ErrorClass.STOP),
    ("ORA-01017", ErrorClass.STOP),
    ("ORA-01031", ErrorClass.STOP),
    ("ORA-00904", ErrorClass.STOP),
    ("DPY-9999", ErrorClass.STOP),
]


@pytest.mark.parametrize(("full_code", "expected"), CODES)
def test_every_class_of_code(full_code: str, expected: ErrorClass) -> None:
    assert error_class(full_code, int(full_code[4:]), False) is expected


def test_an_unknown_code_that_the_driver_calls_recoverable_reconnects() -> None:
    assert error_class("ORA-99999", 99999, True) is ErrorClass.RECONNECT
    assert error_class("ORA-99999", 99999, False) is ErrorClass.STOP


@pytest.mark.parametrize(
    ("message", "column"),
    [
        ('ORA-01400: cannot insert NULL into ("BF"."SLOTS"."SLOT_ID")', "slot_id"),
        ("ORA-02290: check constraint (BF.OUTCOMES_STATUS_CK) violated", None),
    ],
)
def test_the_column_is_found_without_the_value(message: str, column: str | None) -> None:
    assert column_of(message) == column


class Described:
    """What the driver attaches to an error; no server here gives these codes on demand."""

    def __init__(self, code: int, message: str) -> None:
        self.code = code
        self.full_code = f"ORA-{code:05d}"
        self.message = f"{self.full_code}: {message}\nHelp: somewhere"
        self.isrecoverable = False


def test_waiting_and_stopping_are_told_apart() -> None:
    with (
        pytest.raises(
            StoreUnavailable, match=r"^BANDITFLOW_STORE: ORA-00060: deadlock$"
        ) as waiting,
        translated(),
    ):
        raise oracledb.DatabaseError(Described(60, "deadlock"))
    assert waiting.value.code == "ORA-00060"
    with pytest.raises(StoreError, match="banditflow store migrate"), translated():
        raise oracledb.DatabaseError(Described(942, "table or view does not exist"))
    with pytest.raises(StoreError, match="banditflow store migrate"), translated():
        raise oracledb.DatabaseError(Described(904, '"WRITER": invalid identifier'))
