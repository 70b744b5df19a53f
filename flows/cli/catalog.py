"""``banditflow catalog``: check catalog records, publish them, or print an example."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from flows.cli.arguments import count, natural
from flows.runtime.catalog import CatalogFileError, publish, read_catalog
from operators.io.store.open import open_store
from operators.logic.catalog_check import without_effect
from schemas.catalog import CatalogEntry
from schemas.codec import encode
from schemas.settings import Settings, load


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    command.add_argument(
        "action",
        choices=("check", "publish", "demo"),
        help="check: say what is wrong with FILE; publish: check it and send it to the topic; "
        "demo: print the catalog that the simulated visitors know",
    )
    command.add_argument(
        "file", nargs="?", type=Path, metavar="FILE", help="a JSON record per line ('-': stdin)"
    )
    command.add_argument(
        "--neighbours",
        type=count,
        metavar="N",
        help="publish: give every action with an embedding its N nearest in the store and FILE",
    )
    command.add_argument("--seed", type=natural, default=7, help="demo: of the visitors (7)")
    command.add_argument("--actions", type=count, default=20, help="demo: content variants (20)")


def run(options: argparse.Namespace) -> int:
    """Do what the options say."""
    if options.action == "demo":
        from flows.devkit.demo_catalog import DEMO_POLICY, demo_catalog

        for entry in demo_catalog(options.seed, DEMO_POLICY, actions=options.actions):
            print(encode(entry).decode())
        return 0
    if options.file is None:
        raise CatalogFileError(f"catalog {options.action}: which FILE? ('-' is standard input)")
    entries = read_catalog(options.file)
    note = without_effect(entries)
    if note is not None:
        print(f"note: {note}", file=sys.stderr)
    if options.action == "publish":
        settings = load()
        if options.neighbours is not None:
            entries = _with_neighbours(settings, entries, options.neighbours)
        publish(settings, entries)
        print(f"published {len(entries)} records")
    else:
        print(f"{len(entries)} records, nothing wrong with them")
    return 0


def _with_neighbours(
    settings: Settings, entries: Sequence[CatalogEntry], count: int
) -> list[CatalogEntry]:
    from flows.runtime.neighbours import with_neighbours

    store = open_store(settings.store)
    try:
        return with_neighbours(store, entries, count)
    finally:
        store.close()
