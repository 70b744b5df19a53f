"""Catalog records in a file."""

import sys
from pathlib import Path

from operators.logic.catalog import CatalogHistory
from operators.logic.catalog_check import read_entry, sentence
from operators.logic.catalog_limits import take_in
from schemas.catalog import CatalogEntry
from schemas.codec import Flaw


class CatalogFileError(ValueError):
    """The file cannot be published; the message lists what is wrong, a record a line."""


def read_catalog(path: Path) -> list[CatalogEntry]:
    """Read a file of records, one JSON object per line.

    Raises :class:`CatalogFileError` that names every flawed line.
    """
    try:
        data = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
        text = data.decode()
    except UnicodeDecodeError as error:
        raise CatalogFileError(f"{path}: is not UTF-8") from error
    except OSError as error:
        raise CatalogFileError(f"{path}: cannot be read: {error.strerror}") from error
    entries, numbers, wrong = [], [], []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            entry = read_entry(line.encode())
            if isinstance(entry, Flaw):
                wrong.append(f"{path}:{number}: {sentence(entry)}")
            else:
                entries.append(entry)
                numbers.append(number)
    for place, flaw in take_in(CatalogHistory(), entries):
        wrong.append(f"{path}:{numbers[place]}: {sentence(flaw)}")
    if wrong:
        raise CatalogFileError("\n".join(wrong))
    if not entries:
        raise CatalogFileError(f"{path}: holds no record: one JSON object per line is expected")
    return entries
