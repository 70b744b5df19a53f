"""Micro-batches of deltas: fitted to a policy's features, and joined into one."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from operators.logic.policies.base import Deltas


def with_features(deltas: Deltas, dim: int) -> Deltas | None:
    """Give ``dim`` features each: without any, the intercept alone; None for another number."""
    given = deltas.x.shape[1]
    if given == dim:
        return deltas
    if given:
        return None
    x = np.zeros((len(deltas), dim))
    x[:, :1] = 1.0
    return replace(deltas, x=x)


def joined(parts: Sequence[Deltas]) -> Deltas:
    """Join micro-batches of one slot into one."""
    return Deltas(
        action_ids=[name for part in parts for name in part.action_ids],
        x=np.concatenate([part.x for part in parts]),
        eta=np.concatenate([part.eta for part in parts]),
        time=np.concatenate([part.time for part in parts]),
        count_delta=np.concatenate([part.count_delta for part in parts]),
        reward_delta=np.concatenate([part.reward_delta for part in parts]),
        square_delta=np.concatenate([part.squares for part in parts]),
        contents=_texts(parts, [part.contents for part in parts]),
        contexts=_texts(parts, [part.contexts for part in parts]),
    )


def _texts(
    parts: Sequence[Deltas], texts: Sequence[Sequence[bytes | None] | None]
) -> list[bytes | None] | None:
    if all(some is None for some in texts):
        return None
    pairs = zip(parts, texts, strict=True)
    return [each for part, some in pairs for each in some or [None] * len(part)]


def micros_of(deltas: Deltas) -> NDArray[np.int64]:
    """Give the times of decisions in whole microseconds, exactly as they were."""
    return np.round(deltas.time * 1e6).astype(np.int64)
