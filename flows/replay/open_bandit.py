"""The Open Bandit Dataset (Saito et al. 2021): logged impressions, clicks and propensities."""

import csv
import gzip
import os
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from schemas.clock import in_calendar

Floats = NDArray[np.float64]

SHIPPED = Path(__file__).parent / "data" / "open-bandit"
"""The extract that comes with Banditflow."""

POLICIES = ("random", "bts")
"""The policies whose logs the dataset holds, one folder each."""

POSITIONS = 3

LEAST_PROPENSITY = 1e-12
"""Weights are its inverse, and are summed."""

_PRIOR = SHIPPED / "prior_bts.csv"


class OpenBanditError(ValueError):
    """A log is missing or is not what it should be; the message names the file and the row."""


@dataclass(frozen=True, slots=True)
class OpenBanditRow:
    """One logged impression; ``position`` is 1 to 3, ``user`` the hashed user features."""

    time: datetime
    item: int
    position: int
    click: int
    propensity: float
    user: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Item:
    """What the dataset says of an item: a number and hashed categories."""

    item: int
    number: float
    categories: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OpenBanditLog:
    """A policy's log in the order of time, and the items it chose from."""

    policy: str
    rows: list[OpenBanditRow]
    items: list[Item]


def read_open_bandit(folder: Path, policy: str) -> OpenBanditLog:
    """Read ``folder/policy/all.csv[.gz]`` and the items beside it.

    Raises :class:`OpenBanditError` naming the file, and the row and column where one is wrong.
    """
    place = folder / policy
    rows = [_row(*record) for record in _records(place, "all.csv")]
    if not rows:
        raise OpenBanditError(f"{place}/all.csv holds no rows")
    items = [_item(*record) for record in _records(place, "item_context.csv")]
    strange = {row.item for row in rows} - {item.item for item in items}
    if strange:
        raise OpenBanditError(f"{place}/item_context.csv lacks item {min(strange)}")
    return OpenBanditLog(policy, sorted(rows, key=lambda row: row.time), items)


def clicks_by_item(folder: Path, policy: str) -> dict[int, int]:
    """Count the clicks of each item straight from the CSV, to compare a replay with."""
    clicks: Counter[int] = Counter()
    for _, _, record in _records(folder / policy, "all.csv"):
        clicks[int(float(record["item_id"]))] += int(float(record["click"]))
    return dict(clicks)


def production_prior() -> tuple[Floats, Floats]:
    """Give the published prior (alpha, beta) of ZOZOTOWN's Thompson sampling, campaign "all"."""
    with _PRIOR.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    alpha, beta = (np.array([float(row[name]) for row in rows]) for name in ("alpha", "beta"))
    return alpha, beta


def thompson_probabilities(
    alpha: Floats, beta: Floats, draws: int = 100_000, seed: int = 12345
) -> Floats:
    """Estimate the probability of each item at each position under Bernoulli Thompson sampling.

    Of each draw from the Beta posteriors the three largest are shown, in falling order. The seed
    and the number of draws are those of the published example of the dataset's own library, whose
    generator (MT19937, the legacy Beta sampler) is used too, so that its figures come out.

    Returns
    -------
    Array of shape (items, 3).
    """
    rng = np.random.RandomState(seed)
    counts = np.zeros((len(alpha), POSITIONS))
    for start in range(0, draws, 10_000):
        values = rng.beta(alpha, beta, size=(min(10_000, draws - start), len(alpha)))
        order = np.argsort(values, axis=1)
        for position in range(POSITIONS):
            counts[:, position] += np.bincount(order[:, -1 - position], minlength=len(alpha))
    return counts / draws


def _records(place: Path, name: str) -> Iterator[tuple[Path, int, dict[str, str]]]:
    """Give the records of a CSV file, compressed or not, with its path and line numbers."""
    folders = (place, place / "all")
    paths = [folder / (name + suffix) for folder in folders for suffix in (".gz", "")]
    path = next((path for path in paths if os.path.exists(path)), None)
    if path is None:
        raise OpenBanditError(f"{place / name}[.gz] does not exist")
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", newline="", encoding="utf-8-sig") as lines:
            for number, record in enumerate(csv.DictReader(lines), 2):
                yield path, number, record
    except UnicodeDecodeError as error:
        raise OpenBanditError(f"{path} is not UTF-8") from error
    except (OSError, EOFError, zlib.error, csv.Error) as error:
        raise OpenBanditError(f"{path} cannot be read: {error}") from error


def _row(path: Path, number: int, record: dict[str, str]) -> OpenBanditRow:
    try:
        return OpenBanditRow(
            time=_time(record["timestamp"]),
            item=_whole(record, "item_id", 0, 2**31),
            position=_whole(record, "position", 1, POSITIONS),
            click=_whole(record, "click", 0, 1),
            propensity=_number(record, "propensity_score", LEAST_PROPENSITY, 1.0),
            user=tuple(str(record[f"user_feature_{k}"]) for k in range(4)),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise OpenBanditError(f"{path}, line {number}: {_reason(error)}") from error


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    time = time if time.tzinfo else time.replace(tzinfo=UTC)
    if not in_calendar(time):
        raise ValueError("timestamp: is not from 1970 to before 2200")
    return time.astimezone(UTC)


def _whole(record: dict[str, str], column: str, least: int, most: int) -> int:
    """Read a whole number, however it is written: pandas writes a column with gaps as 1.0."""
    number = _number(record, column, least, most)
    if number != int(number):
        raise ValueError(f"{column}: {record[column]!r} is not a whole number")
    return int(number)


def _number(record: dict[str, str], column: str, least: float, most: float) -> float:
    text = record[column]
    try:
        number = float(text)
    except (TypeError, ValueError):
        raise ValueError(f"{column}: {text!r} is not a number") from None
    if not least <= number <= most:
        raise ValueError(f"{column}: {text!r} is not from {least:g} to {most:g}")
    return number


def _item(path: Path, number: int, record: dict[str, str]) -> Item:
    try:
        return Item(
            _whole(record, "item_id", 0, 2**31),
            _number(record, "item_feature_0", -1e300, 1e300),
            tuple(str(record[f"item_feature_{k}"]) for k in range(1, 4)),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise OpenBanditError(f"{path}, line {number}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    return f"there is no column {error}" if isinstance(error, KeyError) else str(error)
