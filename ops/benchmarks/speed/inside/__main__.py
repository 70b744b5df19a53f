"""A flow with stopwatches around every callback; otherwise the same as ``python -m flows``.

usage: python -m ops.benchmarks.speed.inside run personalize

With ``STOPWATCHES`` set to the path of a socket, it answers everybody who connects there with what
was measured so far (:class:`~ops.benchmarks.speed.inside.reading.Reading`, as JSON).
"""

import os
import socket
import sys
import threading
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec
from bytewax.dataflow import Dataflow

from flows.cli.main import main
from flows.registry import PERSONALIZE
from flows.runtime import runner
from ops.benchmarks.speed.inside.instruments import Instruments
from ops.benchmarks.speed.inside.reading import SOCKET
from ops.benchmarks.speed.inside.stopwatches import Stopwatches, cost


def _begin() -> None:
    import_module(f"flows.{PERSONALIZE.name}")  # before the functions that it names are wrapped
    instruments = Instruments(Stopwatches(), cost())
    instruments.around_functions()
    run = vars(runner)["cli_main"]

    def timed(flow: Dataflow, **options: Any) -> None:
        instruments.around_steps(flow)
        run(flow, **options)

    patch.object(runner, "cli_main", timed).start()
    arguments = (os.environ[SOCKET], instruments)
    threading.Thread(target=_answer, args=arguments, name="stopwatches", daemon=True).start()


def _answer(path: str, instruments: Instruments) -> None:
    Path(path).unlink(missing_ok=True)  # of the execution before, where the flow began anew
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen()
    while True:
        connection, _ = server.accept()
        with connection:
            connection.sendall(msgspec.json.encode(instruments.read()))


if __name__ == "__main__":
    _begin()
    sys.exit(main())
