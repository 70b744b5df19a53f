"""Settings to a store, and what the command line does with it."""

from datetime import datetime

from operators.io.metrics.store import StoreMetrics
from operators.io.store.protocol import Store
from operators.io.store.sqlite import SqliteStore
from schemas.settings import Settings, SettingsError


def open_store(settings: Settings, metrics: StoreMetrics | None = None) -> Store:
    """Open the store that ``BANDITFLOW_STORE`` names."""
    kind, _, address = settings.store.partition(":")
    if kind == "sqlite" and address:
        return SqliteStore(address)
    if kind == "oracle" and address:
        return _oracle(settings, address, metrics)
    raise SettingsError("BANDITFLOW_STORE: expected sqlite:PATH or oracle:DSN")


def migrate(settings: Settings) -> list[str]:
    """Bring the store's schema to this release; give a line for people per migration applied."""
    store = open_store(settings)
    try:
        return [f"applied {name}" for name in store.migrate()] or ["the schema is current"]
    finally:
        store.close()


def status(settings: Settings) -> list[str]:
    """Give a line for people per migration, applied or pending."""
    store = open_store(settings)
    try:
        return [
            f"V{row['version']:03d}  {row['name']:<24} {_when(row['applied_at'])}"
            for row in store.status()
        ]
    finally:
        store.close()


def _when(applied_at: datetime | None) -> str:
    return f"applied {applied_at:%Y-%m-%d %H:%M:%S} UTC" if applied_at else "pending"


def _oracle(settings: Settings, address: str, metrics: StoreMetrics | None) -> Store:
    try:
        from operators.io.store.oracle import OracleStore
    except ImportError as error:
        raise SettingsError(
            "BANDITFLOW_STORE: oracle needs the driver: pip install 'banditflow[oracle]'"
        ) from error
    from operators.io.store.oracle.connect import Access

    return OracleStore(
        Access(
            dsn=address,
            user=settings.store_user,
            password=settings.store_password,
            wallet=settings.store_wallet,
            wallet_password=settings.store_wallet_password,
            auth=settings.store_auth,
        ),
        metrics,
    )
