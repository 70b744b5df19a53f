"""Settled outcomes of an environment whose click probabilities are known."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from operators.logic.features import pack_rows, unpack_rows
from operators.logic.features.packing import packed_dim
from operators.logic.settlements import Settlements
from schemas.clock import micros
from schemas.results import Outcome

START = datetime(2026, 1, 1, tzinfo=UTC)
ACTIONS = 5


class World(NamedTuple):
    """Outcomes one second apart, and the probabilities that made their clicks."""

    outcomes: list[Outcome]
    x: NDArray[np.float64]
    p: NDArray[np.float64]


def world(n: int, seed: int = 0, dim: int = 4, flip_at: int | None = None) -> World:
    """Log-odds linear in x by action, mean near -2; from ``flip_at`` on with signs changed."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, dim)).astype(np.float32).astype(np.float64)
    x[:, 0] = 1.0
    weights = rng.normal(size=(ACTIONS, dim))
    weights[:, 0] -= 2.0
    actions = rng.integers(ACTIONS, size=n)
    log_odds = (x * weights[actions]).sum(axis=1)
    if flip_at is not None:
        log_odds[flip_at:] *= -1.0
    p = 1.0 / (1.0 + np.exp(-log_odds))
    clicks = rng.random(n) < p
    rows = zip(pack_rows(x), actions.tolist(), clicks.tolist(), strict=True)
    return World(
        [settled(i, f"a{a}", float(y), features=f) for i, (f, a, y) in enumerate(rows)], x, p
    )


def settled(number: int, action_id: str, reward: float, **changes: Any) -> Outcome:
    """A settled outcome; its key is a hash of its number, its subject one of a thousand."""
    fields: dict[str, Any] = {
        "time": START + timedelta(seconds=number),
        "settled_at": START + timedelta(seconds=number + 600),
        "subject": f"s{number * 7919 % 1000}",
        "decision_id": f"d{number}",
        "key": blake2b(str(number).encode(), digest_size=8).hexdigest(),
        "slot_id": "home",
        "action_id": action_id,
        "propensity": 1.0 / ACTIONS,
        "reward": reward,
        "status": "settled",
        "revision": 1,
        "activated": True,
        "policy_version": 0,
    }
    return Outcome(**(fields | changes))


def settled_us(outcome: Outcome) -> int:
    """The end of an outcome's window in microseconds."""
    assert outcome.settled_at is not None
    return micros(outcome.settled_at)


def settlements(outcomes: Sequence[Outcome]) -> Settlements:
    """The same by columns; outcomes of one feature fingerprint and one number of features."""
    features = [outcome.features for outcome in outcomes]
    dim = packed_dim(features[0]) if features and features[0] is not None else 0
    x = unpack_rows(features, dim) if dim else np.zeros((len(outcomes), 0))
    return Settlements(
        fingerprint=outcomes[0].mapping if outcomes else "",
        end=np.array([settled_us(outcome) for outcome in outcomes], dtype=np.int64),
        key=np.array([int(outcome.key, 16) for outcome in outcomes], dtype=np.uint64),
        at=np.array([micros(outcome.time) for outcome in outcomes], dtype=np.int64),
        reward=np.array([outcome.reward for outcome in outcomes]),
        eta=np.array([outcome.eta for outcome in outcomes]),
        actions=[outcome.action_id for outcome in outcomes],
        x=x.astype(np.float32),
        subjects=[outcome.subject for outcome in outcomes],
    )


def learned_fields(outcome: Outcome) -> tuple[Any, ...]:
    """What a settled outcome says that a model learns from."""
    ((*_, features),) = rows(settlements([outcome]), False)
    key = int(outcome.key, 16)
    at, end = micros(outcome.time), settled_us(outcome)
    return end, key, at, outcome.reward, outcome.eta, outcome.action_id, outcome.mapping, features


def rows(block: Settlements, named: bool) -> list[tuple[Any, ...]]:
    """The same of each settlement."""
    assert len(block.subjects) == (len(block) if named else 0) or not named
    columns = (block.end, block.key, block.at, block.reward, block.eta)
    lists = [column.tolist() for column in columns]
    fingerprints = [block.fingerprint] * len(block)
    return list(zip(*lists, block.actions, fingerprints, block.x.tolist(), strict=True))
