"""The durable store in production: Oracle Database 23ai through the thin driver."""

from operators.io.store.oracle.store import OracleStore

__all__ = ["OracleStore"]
