"""Settled decisions by columns: what models that learn from final rewards take in."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_COLUMNS = (("end", "<i8"), ("key", "<u8"), ("at", "<i8"), ("reward", "<f8"), ("eta", "<f8"))


class SettlementsState(Struct, array_like=True):
    """The written form of :class:`Settlements`; arrays as raw little-endian bytes."""

    fingerprint: str
    columns: list[bytes]
    actions: list[str]
    subjects: list[str | None]
    x: bytes
    contents: list[bytes | None] = []
    contexts: list[bytes | None] = []


@dataclass(slots=True, kw_only=True)
class Settlements:
    """Decisions of one slot whose rewards are final, a row each, by the end of their windows.

    ``end`` (of the reward window) and ``at`` (of the decision) are microseconds since 1970,
    ``key`` is the join key, ``reward`` the final one, ``eta`` the linear predictor that was
    logged. ``x`` [n, d] are the logged features, named by ``fingerprint`` (empty: not logged); d
    is 0 without any. ``subjects`` is empty where nobody asked for them, ``contents`` (the JSON of
    the features that requests gave to actions) and ``contexts`` (theirs) where there are none.
    """

    fingerprint: str
    end: NDArray[np.int64]
    key: NDArray[np.uint64]
    at: NDArray[np.int64]
    reward: Floats
    eta: Floats
    actions: list[str]
    x: NDArray[np.float32]
    subjects: Sequence[str | None] = ()
    contents: Sequence[bytes | None] = ()
    contexts: Sequence[bytes | None] = ()

    def __len__(self) -> int:
        """Count the decisions."""
        return len(self.end)

    def cut(self, start: int, stop: int) -> "Settlements":
        """Give the rows from ``start`` to before ``stop``."""
        span = slice(start, stop)
        columns = {name: getattr(self, name)[span] for name, _ in _COLUMNS}
        return replace(
            self,
            **columns,
            actions=self.actions[span],
            x=self.x[span],
            subjects=self.subjects[span],
            contents=self.contents[span],
            contexts=self.contexts[span],
        )

    def since(self, time: int) -> "Settlements":
        """Leave out the rows whose decisions were made before ``time``."""
        if not (self.at < time).any():
            return self
        return self.take(np.flatnonzero(self.at >= time))

    def take(self, rows: NDArray[np.intp]) -> "Settlements":
        """Give some of the rows, in the order of ``rows``."""
        places = rows.tolist()
        columns = {name: getattr(self, name)[rows] for name, _ in _COLUMNS}
        return replace(
            self,
            **columns,
            actions=[self.actions[place] for place in places],
            x=self.x[rows],
            subjects=[self.subjects[place] for place in places] if self.subjects else (),
            contents=[self.contents[place] for place in places] if self.contents else (),
            contexts=[self.contexts[place] for place in places] if self.contexts else (),
        )

    def until(self, time: int) -> int:
        """Count the rows whose windows end up to and including ``time``."""
        return int(np.searchsorted(self.end, time, side="right"))

    def fitted(self, dim: int) -> "Settlements | None":
        """Give ``dim`` features each: without any, the intercept alone; None for another number."""
        width = self.x.shape[1]
        if width == dim:
            return self
        if width:
            return None
        x = np.zeros((len(self), dim), dtype=np.float32)
        x[:, :1] = 1.0
        return replace(self, x=x)

    def state(self) -> SettlementsState:
        """Give the written form."""
        columns = [
            np.ascontiguousarray(getattr(self, name), dtype=form).tobytes()
            for name, form in _COLUMNS
        ]
        x = np.ascontiguousarray(self.x, dtype="<f4").tobytes()
        texts = list(self.contents), list(self.contexts)
        return SettlementsState(
            self.fingerprint, columns, self.actions, list(self.subjects), x, *texts
        )

    @classmethod
    def of(cls, state: SettlementsState) -> Self:
        """Read the written form."""
        pairs = zip(_COLUMNS, state.columns, strict=True)
        columns: dict[str, Any] = {
            name: np.frombuffer(data, dtype=form) for (name, form), data in pairs
        }
        rows = len(columns["end"])
        x = np.frombuffer(state.x, dtype="<f4")
        return cls(
            fingerprint=state.fingerprint,
            actions=state.actions,
            subjects=state.subjects,
            contents=state.contents,
            contexts=state.contexts,
            x=x.reshape(rows, len(x) // rows if rows else 0),
            **columns,
        )


def in_order(blocks: Iterable[Settlements]) -> Settlements | None:
    """Join blocks of settlements, sorted by (end of window, key); None without any row."""
    blocks = [block for block in blocks if len(block)]
    if not blocks:
        return None
    ends = np.concatenate([block.end for block in blocks])
    keys = np.concatenate([block.key for block in blocks])
    order = np.lexsort((keys, ends))
    places = order.tolist()
    actions = [name for block in blocks for name in block.actions]
    subjects = [name for block in blocks for name in block.subjects]
    contents = _texts(blocks, [block.contents for block in blocks])
    contexts = _texts(blocks, [block.contexts for block in blocks])
    return Settlements(
        fingerprint=blocks[0].fingerprint,
        end=ends[order],
        key=keys[order],
        at=np.concatenate([block.at for block in blocks])[order],
        reward=np.concatenate([block.reward for block in blocks])[order],
        eta=np.concatenate([block.eta for block in blocks])[order],
        actions=[actions[place] for place in places],
        x=np.concatenate([block.x for block in blocks])[order],
        subjects=[subjects[place] for place in places] if subjects else (),
        contents=[contents[place] for place in places] if contents else (),
        contexts=[contexts[place] for place in places] if contexts else (),
    )


def _texts(
    blocks: Sequence[Settlements], texts: Sequence[Sequence[bytes | None]]
) -> list[bytes | None]:
    if not any(texts):
        return []
    pairs = zip(blocks, texts, strict=True)
    return [each for block, some in pairs for each in some or [None] * len(block)]


def sampled(keys: NDArray[np.uint64], share: float) -> NDArray[np.bool_]:
    """Tell which keys lie in a fixed sample; the sample of a smaller share is part of it.

    Keys are keyed hashes: their value is a fair coin that nobody can choose.

    >>> sampled(np.array([0, 2**63, 2**64 - 1], dtype=np.uint64), 0.5).tolist()
    [True, False, False]
    """
    if share >= 1.0:
        return np.ones(len(keys), dtype=np.bool_)
    chosen: NDArray[np.bool_] = keys < np.uint64(int(share * 2.0**64))
    return chosen
