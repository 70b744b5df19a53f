"""The worlds in which a newcomer is tried: who was there, how often each succeeds, the payoffs."""

from dataclasses import dataclass
from itertools import product

from operators.logic.attribution.rules import rules_of
from ops.benchmarks.bandits.newcomers.yardstick import better_rate, sample_size
from schemas.catalog import Action, FeatureSpec, PolicySettings, Slot
from schemas.clock import moment

RATES = (0.001, 0.01, 0.05, 0.5, 0.9)
INCUMBENTS = ((1, 100_000), (10, 1_000_000), (10, 100_000))
"""How many incumbents, and after how many decisions of the slot: one after 100,000, ten of which
each has had as many, and ten that share 100,000, whose rates are less known than the yardstick
assumes."""

RANGES = ((-1.0, 1.0), (0.0, 1.0), (0.0, 100.0))
HORIZON = 3
"""Decisions of the slot after it, in sample sizes of the yardstick."""

NEWCOMER = "newcomer"


@dataclass(frozen=True, slots=True)
class World:
    """Equal incumbents that succeed at ``rate``, and a newcomer of 1.5 times their odds.

    It comes after ``history`` decisions of the slot, of all incumbents together. A success pays
    the top of ``reward_range``; a decision without an answer pays the ``default_reward``, 0.
    """

    incumbents: int
    history: int
    rate: float
    reward_range: tuple[float, float]

    @property
    def sample(self) -> int:
        """The yardstick n."""
        return sample_size(self.rate)

    @property
    def batch(self) -> int:
        """Decisions between two publications: 25 publications in n."""
        return self.sample // 25

    @property
    def newcomer_rate(self) -> float:
        """How often the newcomer succeeds."""
        return better_rate(self.rate)

    @property
    def ids(self) -> list[str]:
        """The incumbents' names."""
        return [f"a{i:02}" for i in range(self.incumbents)]

    def slot(self, kind: str) -> Slot:
        """Return the slot's catalog record, with the policy at its defaults."""
        return Slot(
            id="slot",
            time=moment(0),
            slot_id="slot",
            policy=PolicySettings(kind=kind),
            features=FeatureSpec(),
            reward_range=self.reward_range,
        )

    def actions(self, ids: list[str]) -> tuple[Action, ...]:
        """Return the catalog records of actions."""
        return tuple(Action(id=a, time=moment(0), action_id=a, slots=["slot"]) for a in ids)

    @property
    def payoffs(self) -> tuple[float, float]:
        """The rewards of a failure and of a success, on the scale of [0, 1]."""
        rules = rules_of(self.slot("beta"))
        return rules.default_reward, rules.rescaled(self.reward_range[1])


def worlds(rates: tuple[float, ...] = RATES) -> list[World]:
    """Return all worlds of the rates."""
    return [World(*given, *each) for given, *each in product(INCUMBENTS, rates, RANGES)]
