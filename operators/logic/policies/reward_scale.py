"""What a policy learned, on the scale of the slot's own rewards: policies see them in [0, 1]."""

from collections.abc import Iterable

from msgspec import structs

from schemas.results import ActionSummary


def total_on_scale(reward: float, count: float, reward_range: tuple[float, float]) -> float:
    """Give on its own scale the sum of ``count`` rewards that add up to ``reward`` in [0, 1].

    >>> total_on_scale(3.0, 4.0, (-1.0, 1.0))
    2.0
    """
    low, high = reward_range
    return count * low + reward * (high - low)


def on_reward_scale(
    summaries: Iterable[ActionSummary], reward_range: tuple[float, float]
) -> list[ActionSummary]:
    """Give summaries in [0, 1] on the scale on which a slot declares its rewards."""
    low, high = reward_range
    return [
        structs.replace(
            summary,
            reward=total_on_scale(summary.reward, summary.count, reward_range),
            mean=_level(summary.mean, low, high),
            deviation=_level(summary.deviation, 0.0, high - low),
            observed=_level(summary.observed, low, high),
        )
        for summary in summaries
    ]


def _level(value: float | None, low: float, high: float) -> float | None:
    return None if value is None else low + value * (high - low)
