"""Micro-batches of deltas: fitted to a policy's features, joined into one, given rows."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from operators.logic.features.auto_rows import AutoRows
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


def made_since(deltas: Deltas, time: int) -> Deltas:
    """Leave out the deltas of decisions made before ``time``, in microseconds.

    >>> n = np.zeros(2)
    >>> two = Deltas(
    ...     action_ids=["a", "b"],
    ...     x=np.ones((2, 1)),
    ...     eta=n,
    ...     time=np.array([1.0, 2.0]),
    ...     count_delta=n,
    ...     reward_delta=n,
    ... )
    >>> made_since(two, 1_000_001).action_ids
    ['b']
    """
    before = deltas.time < time / 1e6
    return deltas.take(np.flatnonzero(~before)) if before.any() else deltas


def micros_of(deltas: Deltas) -> NDArray[np.int64]:
    """Give the times of decisions in whole microseconds, exactly as they were."""
    return np.round(deltas.time * 1e6).astype(np.int64)


def with_rows(deltas: Deltas, rows: AutoRows | None) -> Iterator[Deltas]:
    """Give the deltas with the rows of the chosen actions, in parts of bounded size.

    They are made of ``contexts`` and ``contents``, and of the position, which the columns of ``x``
    behind the first name. Without ``rows`` the deltas come back as they are.
    """
    if rows is None:
        yield deltas
        return
    none: list[bytes | None] = [None] * len(deltas)
    place = np.arange(1, max(deltas.x.shape[1], 1))
    positions = np.asarray(deltas.x[:, 1:] @ place, dtype=np.int64)
    start = 0
    for part in rows.of_chosen(deltas.contexts or none, deltas.contents or none, positions):
        stop = start + len(part)
        yield replace(deltas.take(range(start, stop)), rows=part)
        start = stop
