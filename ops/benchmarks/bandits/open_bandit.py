"""The published value of Thompson sampling on the Open Bandit sample (Saito et al. 2021)."""

from flows.replay.open_bandit import production_prior, thompson_probabilities

ROWS = 10_000
"""Rows of the sample; each item was shown with probability 1/80 at each position."""

PUBLISHED = 0.004553

CLICKED = (
    (1, 1), (3, 3), (6, 1), (6, 3), (7, 1), (8, 3), (9, 1), (17, 1), (18, 3), (18, 3), (21, 3),
    (25, 2), (28, 1), (34, 2), (36, 2), (36, 3), (38, 1), (41, 2), (44, 1), (44, 2), (45, 2),
    (46, 3), (47, 2), (48, 3), (49, 1), (49, 1), (49, 2), (50, 1), (53, 2), (53, 2), (57, 1),
    (57, 3), (58, 2), (58, 2), (61, 2), (65, 2), (69, 3), (71, 1),
)  # fmt: skip
"""Item and position of each click; rows without a click add nothing to the value."""


def ipw_value() -> float:
    """Weigh the clicks of the uniform policy by Thompson sampling's share over 1/80."""
    p = thompson_probabilities(*production_prior())
    return float(sum(len(p) * p[item, position - 1] for item, position in CLICKED) / ROWS)
