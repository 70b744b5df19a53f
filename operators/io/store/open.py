"""Opens the durable store that the settings name, and brings its schema up to date."""

from datetime import datetime

from operators.io.metrics.store import StoreMetrics
from operators.io.store.protocol import Store
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
