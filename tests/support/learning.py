"""What a learner of a slot with two features is taught."""

import numpy as np

from operators.logic.policies import Deltas
from schemas.catalog import FeatureSpec
from tests.support import records as make

NAMES = ("a", "b", "c")
ACTIONS = tuple(make.action(name) for name in NAMES)
FEATURES = FeatureSpec(numeric=["u", "v"])
DIM = 3


def deltas(numbers: list[int], dim: int = DIM) -> Deltas:
    """Each number is a decision; odd ones were rewarded."""
    rows = [np.random.default_rng(number) for number in numbers]
    n = len(numbers)
    return Deltas(
        action_ids=[NAMES[number % 3] for number in numbers],
        x=np.array([[1.0, *row.normal(size=dim - 1)] for row in rows]).reshape(n, dim),
        eta=np.array([float(row.normal()) for row in rows]),
        time=np.array([1e9 + number for number in numbers]),
        count_delta=np.ones(n),
        reward_delta=np.array([float(number % 2) for number in numbers]),
    )
