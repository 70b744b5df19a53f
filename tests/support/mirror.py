"""A server that speaks Oracle's protocol to the real driver, for tests and campaigns.

``mirror()`` starts PostgreSQL (unpacked by ``ops/ci/mirror_packages.sh``, which needs root) and the
mirror before it, both on loopback; ``Unavailable`` says why it cannot.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from operators.io.oracle.connect import Access

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PACKAGES = ROOT / "ops" / "ci" / "mirror_packages.sh"
CACHE = Path(os.environ.get("BANDITFLOW_MIRROR_CACHE", ROOT / ".cache" / "mirror"))
USER = "banditflow_test"
PASSWORD = "mirror-secret"
_BINARIES = "/usr/lib/postgresql/17/bin"
_OWNER = 65500
_PATIENCE = 60.0


class Unavailable(Exception):  # noqa: N818 (a state of the machine, not a mistake)
    """The mirror cannot be had here; the message says why."""


@dataclass
class Mirror:
    """A running mirror: its ``port``, and the PostgreSQL behind it for what only that can do."""

    port: int
    postgres_port: int
    root: Path

    @property
    def dsn(self) -> str:
        return dsn(self.port)

    def access(self, port: int | None = None, **changes: object) -> Access:
        """How the store reaches it, or a proxy before it."""
        fields = {"dsn": dsn(port or self.port), "user": USER, "password": PASSWORD}
        return Access(**(fields | changes))  # type: ignore[arg-type]

    def postgres(self, sql: str, database: str = "ora") -> str:
        """Run SQL in the PostgreSQL behind the mirror."""
        return _psql(self.root, self.postgres_port, sql, database)

    @contextmanager
    def with_tls(self, certificates: Path) -> Iterator[int]:
        """Start a second server on the same database that speaks TLS; give its port."""
        port, log = free_port(), certificates / "mirror.log"
        server = _start(_server(port, self.postgres_port, str(certificates)), log)
        try:
            _until(lambda: _answers(port), server, log)
            yield port
        finally:
            _end(server)

    def kill_sessions(self) -> None:
        """End every session of the mirror, as an administrator would."""
        self.postgres(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'ora'",
            "postgres",
        )


def dsn(port: int) -> str:
    return f"127.0.0.1:{port}/FREEPDB1"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def mirror() -> Iterator[Mirror]:
    """Start a mirror over an empty database; everything is gone afterwards."""
    root = packages()
    data = Path(mkdtemp(dir=root / "data"))
    os.chown(data, _OWNER, _OWNER)
    inside = f"/data/{data.name}"
    running: list[subprocess.Popen[bytes]] = []
    try:
        _chroot(root, "initdb", "-D", f"{inside}/pg", "-U", "postgres", *_INITDB)
        postgres_port, port = free_port(), free_port()
        command = _command(root, "postgres", "-D", f"{inside}/pg", "-p", str(postgres_port), *_RUN)
        running.append(_start(command, data / "postgres.log"))
        _until(lambda: _answers(postgres_port), running[-1], data / "postgres.log")
        _until(lambda: _ready(root, postgres_port), running[-1], data / "postgres.log")
        _psql(root, postgres_port, "CREATE DATABASE ora", "postgres")
        _psql(root, postgres_port, "CREATE EXTENSION vector", "ora")
        running.append(_start(_server(port, postgres_port), data / "mirror.log"))
        _until(lambda: _answers(port), running[-1], data / "mirror.log")
        yield Mirror(port, postgres_port, root)
    finally:
        for process in reversed(running):
            _end(process)
        shutil.rmtree(data, ignore_errors=True)


def packages() -> Path:
    """Unpack the server's packages where they are not yet; needs root."""
    try:
        import seerdb  # noqa: F401
    except ImportError:
        raise Unavailable("seerdb[mirror] is not installed") from None
    if os.geteuid() != 0:
        raise Unavailable("it needs root, for chroot")
    done = subprocess.run(
        [str(PACKAGES), str(CACHE)], capture_output=True, text=True, check=False, timeout=600
    )
    if done.returncode != 0:
        reason = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        raise Unavailable(f"{PACKAGES.name}: {reason[-1]}")
    return CACHE / "root"


_INITDB = ("-A", "trust", "--locale=C.UTF-8", "-E", "UTF8", "--no-sync")
_RUN = (
    "-k",
    "/tmp",
    "-c",
    "listen_addresses=127.0.0.1",
    "-c",
    "dynamic_shared_memory_type=mmap",
    "-c",
    "fsync=off",
)


def _server(port: int, postgres_port: int, *options: str) -> list[str]:
    conninfo = f"host=127.0.0.1 port={postgres_port} dbname=ora user=postgres"
    return [sys.executable, str(HERE / "mirror_server.py"), str(port), conninfo, *options]


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _command(root: Path, binary: str, *arguments: str) -> list[str]:
    user = f"--userspec={_OWNER}:{_OWNER}"
    return ["chroot", user, str(root), f"{_BINARIES}/{binary}", *arguments]


def _chroot(root: Path, binary: str, *arguments: str) -> str:
    done = subprocess.run(
        _command(root, binary, *arguments), capture_output=True, text=True, check=False, timeout=60
    )
    if done.returncode != 0:
        raise Unavailable(f"{binary}: {done.stderr.strip()}")
    return done.stdout


def _psql(root: Path, port: int, sql: str, database: str) -> str:
    where = ("-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "-d", database)
    return _chroot(root, "psql", *where, "-Atqc", sql)


def _start(command: list[str], log: Path) -> "subprocess.Popen[bytes]":
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with log.open("wb") as output:
        return subprocess.Popen(
            command,
            cwd="/",
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _ready(root: Path, port: int) -> bool:
    ready = _command(root, "pg_isready", "-h", "127.0.0.1", "-p", str(port))
    return subprocess.run(ready, capture_output=True, check=False).returncode == 0


def _until(condition: Callable[[], bool], process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            raise Unavailable(f"{process.args!r} did not start: {log.read_text()[-2000:]}")
        time.sleep(0.05)
