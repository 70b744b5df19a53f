"""Settled outcomes of an environment whose click probabilities are known."""

from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from operators.logic.features import pack_rows
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
