"""Opens the durable store that the settings name, and brings its schema up to date."""

from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

from operators.io.metrics.store import StoreMetrics
from operators.io.store.protocol import Store, StoreError
from operators.io.store.sqlite import SqliteStore
from schemas.settings import SettingsError, StoreSettings


def open_store(settings: StoreSettings, metrics: StoreMetrics | None = None) -> Store:
    """Open the store that ``BANDITFLOW_STORE`` names; it reports to ``metrics``.

    Raises :class:`~schemas.settings.SettingsError` where it names none that there is.
    """
    kind, _, address = settings.address.partition(":")
    if kind == "sqlite" and address:
        return SqliteStore(address)
    if kind == "oracle" and address:
        return _open_oracle(settings, address, metrics)
    raise SettingsError("BANDITFLOW_STORE: expected sqlite:PATH or oracle:DSN")


def open_made(settings: StoreSettings) -> Store:
    """Open the store; a file of SQLite that is not there is refused, not made."""
    kind, _, path = settings.address.partition(":")
    if kind == "sqlite" and path != ":memory:" and not SqliteStore.is_there(path):
        raise StoreError(
            f"BANDITFLOW_STORE: there is no store at {path}: `banditflow store migrate` makes one, "
            "`banditflow run persist` fills it"
        )
    return open_store(settings)


def check_schema(store: Store) -> None:
    """Raise :class:`StoreError` where the store's schema is not of this release."""
    pending = [row["name"] for row in store.status() if row["applied_at"] is None]
    if pending:
        raise StoreError(
            f"BANDITFLOW_STORE: the store lacks {len(pending)} migrations, the first of them "
            f"{pending[0]!r}: run `banditflow store migrate`"
        )


def migrate(settings: StoreSettings, now: datetime) -> list[str]:
    """Bring the schema of that store to this release; name the migrations that were applied."""
    store = open_store(settings)
    try:
        return store.migrate(now)
    finally:
        store.close()


def _open_oracle(settings: StoreSettings, address: str, metrics: StoreMetrics | None) -> Store:
    try:
        from operators.io.store.oracle import OracleStore
    except ImportError as error:
        raise SettingsError(
            "BANDITFLOW_STORE: oracle needs the driver: pip install 'banditflow[oracle]'"
        ) from error
    from operators.io.store.oracle.connect import Access

    if settings.wallet and not Path(settings.wallet).is_dir():
        raise SettingsError(f"BANDITFLOW_STORE_WALLET: there is no folder {settings.wallet}")
    if settings.auth == "password" and not settings.user:
        raise SettingsError("BANDITFLOW_STORE_USER is not set: who are we in that database?")
    if settings.auth != "password" and find_spec("oci") is None:
        raise SettingsError(
            "BANDITFLOW_STORE_AUTH: expected password; a token needs the package: pip install oci"
        )
    return OracleStore(
        Access(
            dsn=address,
            user=settings.user,
            password=settings.password,
            wallet=settings.wallet,
            wallet_password=settings.wallet_password,
            auth=settings.auth,
        ),
        metrics,
    )
