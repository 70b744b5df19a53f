"""What a step teaches: changes to contributions, gathered into each slot's deltas."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from operators.logic.attribution.kinds import Kinds
from operators.logic.attribution.pending import Pending, Rows, alike
from operators.logic.policies.base import Deltas
from schemas.clock import NEVER

Floats = NDArray[np.float64]


@dataclass(slots=True)
class Taught:
    """One slot's deltas, of decisions with the same feature mapping, and the rewards among them."""

    slot_id: str
    deltas: Deltas
    rewards: int = 0
    newest: int = NEVER
    version: int = 0
    mapping: str = ""


@dataclass(slots=True)
class Teaching:
    """The changes of one step, by row."""

    blocks: list[tuple[Rows, Floats, Floats]] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    count_delta: list[float] = field(default_factory=list)
    reward_delta: list[float] = field(default_factory=list)
    rewards: dict[str, tuple[int, int]] = field(default_factory=dict)

    def tell(self, row: int, count_delta: float, reward_delta: float) -> None:
        """Change one decision's contribution."""
        if count_delta or reward_delta:
            self.rows.append(row)
            self.count_delta.append(count_delta)
            self.reward_delta.append(reward_delta)

    def tell_all(self, rows: Rows, count_delta: Floats, reward_delta: Floats) -> None:
        """Change many decisions' contributions."""
        if len(rows):
            self.blocks.append((rows, count_delta, reward_delta))

    def rewarded(self, slot_id: str, at: int) -> None:
        """Count a reward among the changes."""
        count, newest = self.rewards.get(slot_id, (0, NEVER))
        self.rewards[slot_id] = (count + 1, max(newest, at))

    def gather(self, pending: Pending, kinds: Kinds) -> list[Taught]:
        """Look up what the deltas say of each decision; call it before the rows are removed."""
        if self.rows:
            rows = np.array(self.rows, dtype=np.int64)
            self.blocks.append((rows, np.array(self.count_delta), np.array(self.reward_delta)))
        if not self.blocks:
            return []
        rows, count_delta, reward_delta = self.blocks[0]
        if len(self.blocks) > 1:
            rows, count_delta, reward_delta = (
                np.concatenate(part) for part in zip(*self.blocks, strict=True)
            )
        taught = []
        for some in alike(kinds.course[pending.kind[rows]]):
            taught += _deltas(pending, kinds, rows[some], count_delta[some], reward_delta[some])
        named: set[str] = set()
        for each in taught:
            if each.slot_id not in named:
                each.rewards, each.newest = self.rewards.get(each.slot_id, (0, NEVER))
                named.add(each.slot_id)
        return taught


def _deltas(
    pending: Pending, kinds: Kinds, rows: Rows, count_delta: Floats, reward_delta: Floats
) -> list[Taught]:
    """Make a slot's deltas, apart by the number of features (a slate's size changes it, too)."""
    taught = []
    for part, x in pending.features(rows):
        some = rows[part]
        numbers = pending.kind[some].tolist()
        deltas = Deltas(
            action_ids=[kinds.all[number].action_id for number in numbers],
            x=x,
            eta=pending.eta[some],
            time=pending.at[some] / 1e6,
            count_delta=count_delta[part],
            reward_delta=reward_delta[part],
        )
        version = int(pending.version[some].max())
        kind = kinds.all[numbers[0]]
        taught.append(Taught(kind.slot_id, deltas, version=version, mapping=kind.mapping))
    return taught
