"""The Open Bandit Dataset (Saito et al. 2021): logged impressions, clicks and propensities."""

import csv
import gzip
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SHIPPED = Path(__file__).parent / "data" / "open-bandit"
"""The extract that comes with Banditflow."""

POLICIES = ("random", "bts")
"""The policies whose logs the dataset holds, one folder each."""

POSITIONS = 3
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
        clicks[int(record["item_id"])] += int(record["click"])
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
    path = next((path for path in paths if path.exists()), None)
    if path is None:
        raise OpenBanditError(f"{place / name}[.gz] does not exist")
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", newline="") as lines:
        for number, record in enumerate(csv.DictReader(lines), 2):
            yield path, number, record


def _row(path: Path, number: int, record: dict[str, str]) -> OpenBanditRow:
    try:
        time = datetime.fromisoformat(record["timestamp"])
        row = OpenBanditRow(
            time=time if time.tzinfo else time.replace(tzinfo=UTC),
            item=int(record["item_id"]),
            position=int(record["position"]),
            click=int(float(record["click"])),
            propensity=float(record["propensity_score"]),
            user=tuple(record[f"user_feature_{k}"] for k in range(4)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise OpenBanditError(f"{path}, line {number}: {_reason(error)}") from error
    if row.click not in (0, 1) or not 0.0 < row.propensity <= 1.0:
        raise OpenBanditError(
            f"{path}, line {number}: click must be 0 or 1, propensity_score in (0, 1]"
        )
    return row


def _item(path: Path, number: int, record: dict[str, str]) -> Item:
    try:
        return Item(
            int(record["item_id"]),
            float(record["item_feature_0"]),
            tuple(record[f"item_feature_{k}"] for k in range(1, 4)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise OpenBanditError(f"{path}, line {number}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    return f"there is no column {error}" if isinstance(error, KeyError) else str(error)
