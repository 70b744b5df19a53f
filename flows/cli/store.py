"""``banditflow store migrate`` and ``status``: the schema of the durable store."""

import argparse
from datetime import datetime

from flows.runtime.clock import system_clock
from operators.io.store.open import migrate, open_store
from schemas.settings import Settings, load


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    command.add_argument(
        "action",
        choices=("migrate", "status"),
        help="migrate: apply what is new; status: list what was applied and what is pending",
    )


def run(options: argparse.Namespace) -> None:
    """Do what the options say."""
    settings = load()
    sentences = migrate_lines(settings) if options.action == "migrate" else status_lines(settings)
    print("\n".join(sentences))


def migrate_lines(settings: Settings) -> list[str]:
    """Bring the schema to this release; give a line for people per migration applied."""
    return [f"applied {name}" for name in migrate(settings.store, system_clock())] or [
        "the schema is current"
    ]


def status_lines(settings: Settings) -> list[str]:
    """Give a line for people per migration, applied or pending."""
    store = open_store(settings.store)
    try:
        return [
            f"V{row['version']:03d}  {row['name']:<24} {_when(row['applied_at'])}"
            for row in store.status()
        ]
    finally:
        store.close()


def _when(applied_at: datetime | None) -> str:
    return f"applied {applied_at:%Y-%m-%d %H:%M:%S} UTC" if applied_at else "pending"
