"""The clock of this machine: what flows hand to the steps that need the time of day."""

from datetime import UTC, datetime


def system_clock() -> datetime:
    """Give the time of day."""
    return datetime.now(UTC)
