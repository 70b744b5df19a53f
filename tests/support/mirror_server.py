"""Run the Oracle-protocol mirror in a process: ``mirror_server.py PORT CONNINFO [CERTIFICATES]``.

With a folder of certificates it speaks TLS and asks clients for theirs.

The mirror is seerdb 3.3.0 over PostgreSQL. Worked round here, and only here:

* two faults in how it reads a statement that the driver runs again: JSON and vector values are
  taken for LONG ones, and an array that spans packets is cut short without an error;
* more errors of an array than fit a short field are written so that the driver misreads them;
* Oracle SQL that it does not know: the WHERE of a MERGE's update, partitions, and that a NULL in
  a MERGE's source keeps the type with which it was bound;
* the code of a column that is added twice.
"""

import re
import ssl
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seerdb.common import tns
from seerdb.common.exceptions import Truncated
from seerdb.server import session
from seerdb.server.backends import postgres
from seerdb.server.backends.postgres import PostgresBackend
from seerdb.server.service import serve

from operators.io.store.tables import TABLES, Kind

ACCOUNTS = {"BANDITFLOW_TEST": "mirror-secret"}

_PLAIN = 4
"""The function code of a re-execute whose iterations are rows, not a prefetch."""

_NOT_LONG = {119, 127}
"""JSON and VECTOR: wide by declaration, but sent in place."""

_MERGE = re.compile(r"WHEN MATCHED THEN (UPDATE SET .*?) WHERE (.*?) (WHEN NOT MATCHED)", re.S)
_PARTITIONS = re.compile(r"\)\s*PARTITION BY RANGE .*ENABLE ROW MOVEMENT", re.S)

_KINDS = {column.name: column.kind for table in TABLES.values() for column in table.columns}
_TYPES = {
    Kind.TIME: "TIMESTAMP",
    Kind.REAL: "BINARY_DOUBLE",
    Kind.INTEGER: "NUMBER(19)",
    Kind.JSON: "JSON",
}

_parse_reexecute = tns.parse_reexecute


def parse_reexecute(payload: bytes, bind_types: Any = None, **options: Any) -> Any:
    types = [
        (data_type, csfrm, 1 if data_type in _NOT_LONG else size, toid)
        for data_type, csfrm, size, toid in bind_types or ()
    ]
    request = _parse_reexecute(payload, bind_types=types, **options)
    if types and payload[1] == _PLAIN and len(request.bind_rows) < request.fetch:
        raise Truncated("rows of the array are still to come")
    return request


def encode_batch_numbers(values: list[int]) -> bytes:
    """Write each number of a long field as a chunk of its own, as the driver reads it."""
    if not values:
        return tns.encode_sb4(0)
    chunks = [tns.encode_sb4(value) for value in values]
    body = b"".join(tns.encode_sb4(len(chunk)) + chunk for chunk in chunks)
    return tns.encode_sb4(len(values)) + b"\xfe" + body + b"\0"


def typed(bind: re.Match[str]) -> str:
    kind = _KINDS.get(bind[2])
    return f"CAST({bind[1]} AS {_TYPES[kind]}) AS {bind[2]}" if kind in _TYPES else bind[0]


def translate(sql: str) -> str:
    if sql.startswith("MERGE"):
        sql = re.sub(r"(:\d+) AS (\w+)", typed, sql)
    sql = _MERGE.sub(r"WHEN MATCHED AND (\2) THEN \1 \3", sql)
    return _PARTITIONS.sub(")", sql)


class Backend(PostgresBackend):
    def parse(self, sql: str) -> None:
        return super().parse(translate(sql))

    def execute(self, sql: str, binds: Sequence[Any] = ()) -> Any:
        return super().execute(translate(sql), binds)

    def execute_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> Any:
        return super().execute_many(translate(sql), rows)


def main() -> None:
    port, conninfo = int(sys.argv[1]), sys.argv[2]
    session.parse_reexecute = parse_reexecute
    tns._encode_batch_ub4_array = encode_batch_numbers
    postgres._SQLSTATE_TO_ORA["42701"] = 1430
    serve(
        "127.0.0.1",
        port,
        backend_factory=lambda: Backend(conninfo, credentials=ACCOUNTS, presents="23ai"),
        ssl_context=tls(Path(sys.argv[3])) if len(sys.argv) > 3 else None,
    )


def tls(certificates: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem")
    context.load_verify_locations(certificates / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    return context


if __name__ == "__main__":
    main()
