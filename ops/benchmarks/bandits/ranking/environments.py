"""The environments by name."""

from ops.benchmarks.bandits.ranking.labels import PASSES, Labels
from ops.benchmarks.bandits.ranking.market import Market
from ops.benchmarks.bandits.ranking.news import News
from ops.benchmarks.bandits.ranking.requests import Environment

STREAMS = ("market-stationary", "market-drifting", "news", "market-unrepeated")
"""(a), (b), (d) and (e), of any length."""

SETS = tuple(PASSES)
"""(c): as long as the set is."""


def environment_of(name: str, seed: int, events: int) -> Environment:
    """Make an environment; ``events`` cuts the classification sets too, where they are longer."""
    if name in SETS:
        found = Labels(name, seed)
        found.events = min(found.events, events)
        return found
    if name == "news":
        return News(seed, events)
    return Market(name.removeprefix("market-"), seed, events)
