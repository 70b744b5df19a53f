"""``banditflow inspect``: what is known of a slot, a subject or a decision, and why."""

import argparse

from flows.reports.inspection import NotFoundError, decision, features, slot, subject
from operators.decode import pseudonym_of
from operators.io.store.open import open_made
from schemas.codec import encode_for_people
from schemas.settings import load

_SUBJECT = "subject"

_THINGS = {
    "slot": (slot, "a slot's policy and each action's posterior", "SLOT"),
    _SUBJECT: (subject, "what is remembered of a visitor", "ID"),
    "decision": (decision, "a decision, its probabilities and its outcome", "DECISION_ID"),
    "features": (features, "what a slot's features become: its columns", "SLOT"),
}
"""What can be inspected: by what function, the help, what it is named by."""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare ``inspect slot|subject|decision|features NAME``."""
    things = command.add_subparsers(dest="thing", required=True, metavar="KIND")
    for thing, (_, help_, name) in _THINGS.items():
        page = things.add_parser(thing, help=help_, description=f"Print {help_} as JSON.")
        page.add_argument("name", metavar=name)
        if thing == _SUBJECT:
            page.add_argument(
                "--pseudonym", action="store_true", help="NAME is the pseudonym, not the raw id"
            )


def run(options: argparse.Namespace) -> None:
    """Print what was asked for."""
    settings = load()
    name = options.name
    if not name.isascii() and any("\ud800" <= character <= "\udfff" for character in name):
        raise NotFoundError(f"{options.thing}: the name is not UTF-8")
    if options.thing == _SUBJECT and not options.pseudonym:
        name = pseudonym_of(settings.secret.encode(), name)
    describe, _, _ = _THINGS[options.thing]
    store = open_made(settings.store)
    try:
        print(encode_for_people(describe(settings, store, name)))
    finally:
        store.close()
