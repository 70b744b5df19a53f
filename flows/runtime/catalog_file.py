"""Catalog records in a file."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from operators.logic.catalog import CatalogHistory
from operators.logic.catalog_check import read_entry, sentence
from operators.logic.catalog_effects import misspelt, mistake_of
from operators.logic.catalog_limits import take_in
from schemas.catalog import Action, CatalogEntry, Experiment, Slot
from schemas.codec import Flaw

KINDS: Mapping[type, str] = {Slot: "slot", Action: "action", Experiment: "experiment"}


class CatalogFileError(ValueError):
    """The file cannot be published; the message lists what is wrong, a record a line."""


class CatalogFile(NamedTuple):
    """The records of a file, and what was passed over in them."""

    entries: list[CatalogEntry]
    notes: list[str]


def read_catalog(path: Path) -> CatalogFile:
    """Read a file of records, one JSON object per line.

    Raises :class:`CatalogFileError` that names every flawed line: what no flow could use, and what
    can only be a mistake, such as a misspelt field.
    """
    try:
        data = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
        text = data.decode()
    except UnicodeDecodeError as error:
        raise CatalogFileError(f"{path}: is not UTF-8") from error
    except OSError as error:
        raise CatalogFileError(f"{path}: cannot be read: {error.strerror}") from error
    entries, numbers, wrong, notes = [], [], [], []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            entry = read_entry(line.encode())
            if isinstance(entry, Flaw):
                wrong.append(f"{path}:{number}: {sentence(entry)}")
            else:
                mistake = mistake_of(entry)
                if mistake is not None:
                    wrong.append(f"{path}:{number}: {sentence(mistake)}")
                for name, near in misspelt(line.encode(), entry):
                    said = f"{path}:{number}: {name}: no {KINDS[type(entry)]} has such a field"
                    if near is None:
                        notes.append(f"{said}: it is ignored")
                    else:
                        wrong.append(f"{said}: did you mean {near}?")
                entries.append(entry)
                numbers.append(number)
    for place, flaw in take_in(CatalogHistory(), entries):
        wrong.append(f"{path}:{numbers[place]}: {sentence(flaw)}")
    if wrong:
        raise CatalogFileError("\n".join(wrong))
    if not entries:
        raise CatalogFileError(f"{path}: holds no record: one JSON object per line is expected")
    return CatalogFile(entries, notes)
