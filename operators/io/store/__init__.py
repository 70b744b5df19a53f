"""The durable store: one protocol, in Oracle Database and in SQLite."""
