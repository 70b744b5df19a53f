"""``banditflow catalog``: check catalog records, publish them, take them back, or show them."""

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path

from flows.cli.arguments import count, natural, time
from flows.runtime.catalog_file import CatalogFileError, read_catalog
from flows.runtime.catalog_topic import CatalogTopic, check_room, publish, read_topic
from flows.runtime.clock import system_clock
from operators.io.store.open import open_store
from operators.logic.catalog import CatalogHistory
from operators.logic.catalog_contents import held_entries, keep_neighbours, timeline
from operators.logic.catalog_effects import without_effect
from operators.logic.catalog_limits import take_in
from operators.logic.publication import Publication, plan_file, plan_rollback
from schemas.catalog import CatalogEntry
from schemas.clock import Clock, micros
from schemas.codec import encode
from schemas.settings import Settings, load

_HELP = {
    "check": "say what is wrong with the records of FILE, line by line",
    "publish": "make the catalog what FILE says, from now on, and say what that changes",
    "rollback": "take back, from now on, what came to the catalog since TIME, "
    "and say what that changes",
    "show": "print the records that hold now, and those that are to hold later",
    "demo": "print the catalog that the simulated visitors know",
}


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare a command for each thing that can be done with a catalog."""
    actions = command.add_subparsers(dest="action", required=True, metavar="ACTION")
    pages = {
        name: actions.add_parser(name, help=help_, description=f"{help_[0].upper()}{help_[1:]}.")
        for name, help_ in _HELP.items()
    }
    for name in ("check", "publish"):
        pages[name].add_argument(
            "file", type=Path, metavar="FILE", help="a JSON record per line ('-': stdin)"
        )
    pages["rollback"].add_argument(
        "time", type=time, metavar="TIME", help="with its zone, such as 2026-11-27T12:00:00Z"
    )
    for name in ("publish", "rollback"):
        pages[name].add_argument(
            "--dry-run", action="store_true", help="say what would change, and send nothing"
        )
    pages["publish"].add_argument(
        "--prune", action="store_true", help="delete what FILE does not name"
    )
    pages["publish"].add_argument(
        "--again",
        action="store_true",
        help="send what is unchanged, too, where the broker deletes records for their age",
    )
    pages["publish"].add_argument(
        "--neighbours",
        type=count,
        metavar="N",
        help="give every action with an embedding its N nearest in the store and FILE",
    )
    pages["show"].add_argument(
        "--at", type=time, metavar="TIME", help="those that held at this time instead"
    )
    pages["demo"].add_argument("--seed", type=natural, default=7, help="of the visitors (7)")
    pages["demo"].add_argument("--actions", type=count, default=20, help="content variants (20)")


def run(options: argparse.Namespace) -> int:
    """Do what the options say."""
    run_action: Callable[[argparse.Namespace], None] = {
        "check": _check,
        "publish": _publish,
        "rollback": _rollback,
        "show": _show,
        "demo": _demo,
    }[options.action]
    run_action(options)
    return 0


def _check(options: argparse.Namespace) -> None:
    entries, notes = read_catalog(options.file)
    history = CatalogHistory()
    take_in(history, entries)
    _note([*notes, *without_effect(entries, history)])
    print(f"{len(entries)} records, nothing wrong with them")


def _publish(options: argparse.Namespace) -> None:
    entries, notes = read_catalog(options.file)
    _note(notes)
    settings, now = load(), micros(system_clock())

    def plan(topic: CatalogTopic) -> Publication:
        wanted = keep_neighbours(entries, topic.history)
        if options.neighbours is not None:
            wanted = _with_neighbours(settings, wanted, options.neighbours)
        return plan_file(
            topic.history,
            wanted,
            now,
            prune=options.prune,
            again=options.again,
            is_whole=topic.is_whole,
        )

    _carry_out(settings, plan, dry_run=options.dry_run, entries=entries)


def _rollback(options: argparse.Namespace) -> None:
    settings, now = load(), micros(system_clock())
    at = _past(options.time, system_clock)

    def plan(topic: CatalogTopic) -> Publication:
        return plan_rollback(topic.history, topic.known_at(at), now)

    _carry_out(settings, plan, dry_run=options.dry_run)


def _carry_out(
    settings: Settings,
    plan: Callable[[CatalogTopic], Publication],
    *,
    dry_run: bool,
    entries: Sequence[CatalogEntry] = (),
) -> None:
    """Publish, or only plan to; say what that changes, and what of ``entries`` does nothing."""
    from flows.reports.publication import describe, notes

    topic = read_topic(settings, system_clock)
    _note(_unusable(topic))
    publication = plan(topic)
    _note(notes(publication))
    _note(without_effect(entries, check_room(topic, publication)))
    if not dry_run:
        publication = publish(settings, system_clock, plan, topic)
    for line in describe(publication):
        print(line)
    sent = f"{len(publication.records)} records"
    if publication.repeated:
        sent += f" and {len(publication.repeated)} unchanged ones again"
    if dry_run and (publication.records or publication.repeated):
        print(f"nothing was sent: {sent} would be")
    elif publication.records or publication.repeated:
        print(f"published {sent}")
    else:
        print("nothing to publish: the catalog is like that already")


def _show(options: argparse.Namespace) -> None:
    settings = load()
    topic = read_topic(settings, system_clock)
    _note(_unusable(topic))
    if options.at is None:
        entries = timeline(topic.history, micros(system_clock()))
    else:
        at = _past(options.at, system_clock)
        entries = held_entries(topic.known_at(at), at)
    for entry in entries:
        print(encode(entry).decode())


def _demo(options: argparse.Namespace) -> None:
    from flows.devkit.demo_catalog import DEMO_POLICY, articles_slot, demo_catalog

    variants = demo_catalog(options.seed, DEMO_POLICY, actions=options.actions)
    for entry in [*variants, articles_slot()]:
        print(encode(entry).decode())


def _past(wanted: datetime, clock: Clock) -> int:
    at = micros(wanted)
    if at > micros(clock()):
        raise CatalogFileError(f"{wanted.isoformat()} is yet to come: a time that was is wanted")
    return at


def _unusable(topic: CatalogTopic) -> list[str]:
    notes = []
    if topic.unusable:
        notes.append(
            f"{len(topic.unusable)} records on the topic are left out, as a flow leaves them out; "
            f"the first: {topic.unusable[0]}"
        )
    if not topic.is_whole:
        notes.append(
            "the topic's retention has deleted its first records: what they alone said is not "
            "known here, and everything of FILE is taken to be new"
        )
    return notes


def _note(notes: Iterable[str]) -> None:
    for note in notes:
        print(f"note: {note}", file=sys.stderr)


def _with_neighbours(
    settings: Settings, entries: Sequence[CatalogEntry], count: int
) -> list[CatalogEntry]:
    from flows.runtime.neighbours import with_neighbours

    store = open_store(settings.store)
    try:
        return with_neighbours(store, entries, count)
    finally:
        store.close()
