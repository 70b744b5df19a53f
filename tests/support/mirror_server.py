"""Run the Oracle-protocol mirror in a process of its own: ``mirror_server.py PORT CONNINFO``.

The mirror is seerdb 3.3.0 over PostgreSQL. Worked round here, and only here:

* two faults in how it reads a statement that the driver runs again: JSON and vector values are
  taken for LONG ones, and an array that spans packets is cut short without an error;
* Oracle SQL that it does not know: the WHERE of a MERGE's update, partitions.
"""

import re
import sys
from collections.abc import Sequence
from typing import Any

from seerdb.common import tns
from seerdb.common.exceptions import Truncated
from seerdb.server import session
from seerdb.server.backends.postgres import PostgresBackend
from seerdb.server.service import serve

ACCOUNTS = {"BANDITFLOW_TEST": "mirror-secret"}

_PLAIN = 4
"""The function code of a re-execute whose iterations are rows, not a prefetch."""

_NOT_LONG = {119, 127}
"""JSON and VECTOR: wide by declaration, but sent in place."""

_MERGE = re.compile(r"WHEN MATCHED THEN (UPDATE SET .*?) WHERE (.*?) (WHEN NOT MATCHED)", re.S)
_PARTITIONS = re.compile(r"\)\s*PARTITION BY RANGE .*ENABLE ROW MOVEMENT", re.S)

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


def translate(sql: str) -> str:
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
    serve(
        "127.0.0.1",
        port,
        backend_factory=lambda: Backend(conninfo, credentials=ACCOUNTS, presents="23ai"),
    )


if __name__ == "__main__":
    main()
