"""How to reach the database: a pool of thin connections by password, wallet or IAM token."""

import ssl
from pathlib import Path
from typing import Any

import oracledb
from msgspec import Struct

from operators.io.store.oracle.errors import unusable_wallet
from operators.io.store.protocol import StoreError


class Access(Struct, frozen=True, kw_only=True):
    """Where the database is and who we are; times in seconds.

    ``wallet`` is a folder with ``ewallet.pem`` and ``tnsnames.ora`` (mutual TLS), whose names
    ``dsn`` may then use. ``auth`` is ``password`` or the OCI IAM principal that fetches a token:
    ``InstancePrincipal``, ``ConfigFileAuthentication``, ``SimpleAuthentication``, ....
    """

    dsn: str
    user: str = ""
    password: str = ""
    wallet: str = ""
    wallet_password: str = ""
    auth: str = "password"
    connections: int = 4
    acquire_timeout: float = 10.0
    connect_timeout: float = 10.0
    call_timeout: float = 60.0
    ping_after: int = 30

    def __repr__(self) -> str:
        """Show everything but the passwords."""
        return f"Access(dsn={self.dsn!r}, user={self.user!r}, auth={self.auth!r})"


def open_pool(access: Access) -> oracledb.ConnectionPool:
    """Make the pool; its connections are opened as they are needed."""
    call_timeout = round(access.call_timeout * 1000)

    def prepare(connection: oracledb.Connection, _tag: str) -> None:
        # Setting a timeout on a lost connection kills the interpreter (driver 3.4 to 26.1).
        if connection.is_healthy():
            connection.call_timeout = call_timeout
        with connection.cursor() as cursor:
            cursor.execute("ALTER SESSION SET TIME_ZONE = 'UTC'")

    return oracledb.create_pool(
        dsn=access.dsn,
        min=0,
        max=access.connections,
        increment=1,
        getmode=oracledb.POOL_GETMODE_TIMEDWAIT,
        wait_timeout=round(access.acquire_timeout * 1000),
        tcp_connect_timeout=access.connect_timeout,
        ping_interval=access.ping_after,
        expire_time=2,
        stmtcachesize=40,
        sdu=65535,
        session_callback=prepare,
        program="banditflow",
        **_identity(access),
        **_wallet(access),
    )


def _identity(access: Access) -> dict[str, Any]:
    if access.auth == "password":
        return {"user": access.user, "password": access.password}
    import oracledb.plugins.oci_tokens  # noqa: F401 (registers itself)

    return {"extra_auth_params": {"auth_type": access.auth}}


def check_wallet(access: Access) -> None:
    """Read the wallet's key with its password, or raise a ``StoreError`` that says what is wrong.

    The driver connects without our certificate where it cannot read it; what is then seen of the
    server's refusal, an alert or a closed connection, is a matter of timing. A wallet without a
    key of ours, which only names the server's authority, passes.
    """
    file = Path(access.wallet) / "ewallet.pem"
    try:
        if b"PRIVATE KEY-----" in file.read_bytes():
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_cert_chain(file, password=access.wallet_password)
    except OSError as error:
        reason = "its key cannot be read with this password"
        if not isinstance(error, ssl.SSLError):
            reason = f"{file}: {(error.strerror or str(error)).lower()}"
        raise StoreError(unusable_wallet(reason)) from error


def _wallet(access: Access) -> dict[str, Any]:
    if not access.wallet:
        return {}
    check_wallet(access)
    return {
        "config_dir": access.wallet,
        "wallet_location": access.wallet,
        "wallet_password": access.wallet_password or None,
    }
