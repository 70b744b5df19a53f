"""A server that speaks Oracle's protocol to the real driver, for tests and campaigns.

``mirror()`` starts PostgreSQL (unpacked by ``ops/ci/mirror_packages.sh``, which needs root) and the
mirror before it, both on loopback; ``Unavailable`` says why it cannot.
"""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from flows.devkit.embedded import ChildFailed, Supervisor
from operators.io.store.oracle.connect import Access

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PACKAGES = ROOT / "ops" / "ci" / "mirror_packages.sh"
CACHE = Path(os.environ.get("BANDITFLOW_MIRROR_CACHE", ROOT / ".cache" / "mirror"))
USER = "banditflow_test"
PASSWORD = "mirror-secret"
_BINARIES = "/usr/lib/postgresql/17/bin"
_OWNER = 65500
_ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


class Unavailable(Exception):  # noqa: N818 (a state of the machine, not a mistake)
    """The mirror cannot be had here; the message says why."""


@dataclass
class Mirror:
    """A running mirror: its ``port``, and the PostgreSQL behind it for what only that can do."""

    port: int
    postgres_port: int
    root: Path
    supervisor: Supervisor

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
        port = free_port()
        command = _server(port, self.postgres_port, str(certificates))
        child = self.supervisor.start(
            f"mirror-tls-{port}", command, env=_ENVIRONMENT, ready=lambda: _answers(port)
        )
        try:
            yield port
        finally:
            self.supervisor.stop(child)

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
    try:
        with Supervisor(data) as supervisor:
            supervisor.guard.remove_at_end(data)
            yield _started(root, f"/data/{data.name}/pg", supervisor)
    except ChildFailed as failure:
        raise Unavailable(str(failure)) from failure
    finally:
        shutil.rmtree(data, ignore_errors=True)


def _started(root: Path, folder: str, supervisor: Supervisor) -> Mirror:
    _chroot(root, "initdb", "-D", folder, "-U", "postgres", *_INITDB)
    postgres_port, port = free_port(), free_port()
    command = _command(root, "postgres", "-D", folder, "-p", str(postgres_port), *_RUN)
    supervisor.start("postgres", command, ready=lambda: _ready(root, postgres_port))
    _psql(root, postgres_port, "CREATE DATABASE ora", "postgres")
    _psql(root, postgres_port, "CREATE EXTENSION vector", "ora")
    server = _server(port, postgres_port)
    supervisor.start("mirror", server, env=_ENVIRONMENT, ready=lambda: _answers(port))
    return Mirror(port, postgres_port, root, supervisor)


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


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _ready(root: Path, port: int) -> bool:
    ready = _command(root, "pg_isready", "-h", "127.0.0.1", "-p", str(port))
    return subprocess.run(ready, capture_output=True, check=False).returncode == 0
