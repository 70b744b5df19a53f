"""librdkafka's mock cluster as a broker: no further package, little CPU, memory only.

It keeps the last 5 MB or 100,000 records of a partition and forgets everything when it stops; every
topic has four partitions and exists as soon as it is asked for. For the demo and for quick trials.

Run as a script it serves until it is ended and writes its port to the file it is given.
"""

import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from confluent_kafka import Producer


def command(port: int, folder: Path) -> Sequence[str]:  # noqa: ARG001 - it chooses its own port
    """Give the command that serves and writes its port to ``folder/port``."""
    (folder / "port").unlink(missing_ok=True)
    return [sys.executable, "-I", __file__, str(folder / "port")]


def own_port(folder: Path) -> int | None:
    """Read the port it chose; None while there is none."""
    path = folder / "port"
    return int(path.read_text()) if path.exists() else None


def serve(port_file: Path) -> None:
    """Serve until SIGTERM ends the process."""
    cluster = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 0})
    (broker,) = cluster.list_topics(timeout=10).brokers.values()
    scratch = port_file.with_suffix(".new")
    scratch.write_text(str(broker.port))
    scratch.rename(port_file)
    while True:
        signal.pause()


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
