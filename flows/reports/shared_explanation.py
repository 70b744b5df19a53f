"""Why a decision came out as it did, where one model scores all candidates by their features."""

from collections import defaultdict
from collections.abc import Mapping
from math import sqrt
from typing import Any

import numpy as np
from scipy.special import ndtr

from flows.reports.column_names import column_names
from operators.logic.deciding.explain import ActionView, Contribution, Explanation
from operators.logic.features.auto_rows import AutoRows
from operators.logic.features.crossing import crossed
from operators.logic.features.rows import Rows
from operators.logic.policies.shared import SharedPosterior
from schemas.catalog import AutoFeatures

OWN = "the action itself"
"""What an action's own intercept is called among the features."""

_SMALL = 1e-12


def explain_jointly(
    posterior: SharedPosterior,
    settings: AutoFeatures,
    context: Any,
    contents: Mapping[str, bytes | None],
    probabilities: Mapping[str, float],
    chosen: str,
) -> Explanation:
    """Explain the choice among the candidates whose features are known.

    Parameters
    ----------
    posterior, settings
    context
        Decoded JSON.
    contents
        The features of the candidates that are compared, as JSON; ``chosen`` is one of them.
    probabilities
        Those logged, by candidate.
    """
    ids = sorted(contents)
    maker = AutoRows(settings)
    views: dict[str, ActionView] = {}
    for part in maker.of_candidates([context], [[contents[name] for name in ids]]):
        some = ids[len(views) : len(views) + len(part.which)]
        scored = posterior.score_crossed(part, some)
        for name, mean, width in zip(some, scored.mean, scored.width, strict=True):
            views[name] = ActionView(name, float(mean), float(width), probabilities[name])
    ranked = sorted(ids, key=lambda name: (-views[name].score, name))
    others = [name for name in ranked if name != chosen]
    second = others[0] if others else None
    pair = [chosen, *others[:1]]
    (operands,) = maker.of_candidates([context], [[contents[name] for name in pair]])
    rows, scores = crossed(operands), posterior.score_crossed(operands, pair)
    moved = _contributions(posterior, rows.take([0]), chosen)
    better = None
    if second is not None:
        for column, amount in _contributions(posterior, rows.take([1]), second).items():
            moved[column] = moved.get(column, 0.0) - amount
        shared = scores.factor[0] - scores.factor[1]
        deviation = sqrt(float(shared @ shared + scores.own.sum()))
        difference = views[chosen].score - views[second].score
        better = float(ndtr(difference / deviation)) if deviation else float(difference > 0)
    moved = {column: amount for column, amount in moved.items() if abs(amount) > _SMALL}
    names = {_OWN_COLUMN: OWN} | column_names(settings, context, [contents[name] for name in pair])
    contributions = [
        Contribution(names.get(column, f"column {column}"), 1.0, amount, amount)
        for column, amount in moved.items()
    ]
    contributions.sort(key=lambda each: (-abs(each.moved), each.feature))
    return Explanation(
        chosen=views[chosen],
        runner_up=None if second is None else views[second],
        greedy=ranked[0],
        explored=ranked[0] != chosen,
        propensity=views[chosen].probability,
        difference=sum(each.moved for each in contributions),
        better=better,
        contributions=contributions,
    )


_OWN_COLUMN = -1


def _contributions(posterior: SharedPosterior, row: Rows, action_id: str) -> dict[int, float]:
    """Give what each column of one row adds to its score, and the action's own intercept."""
    entries = Rows(np.arange(len(row.indices) + 1), row.indices, row.values, row.width)
    amounts = posterior.score(entries, [""] * len(entries)).mean
    added: dict[int, float] = defaultdict(float)
    for column, amount in zip(row.indices.tolist(), amounts.tolist(), strict=True):
        added[column] += amount
    mine, nobody = (posterior.score(row, [name]).mean[0] for name in (action_id, ""))
    added[_OWN_COLUMN] = float(mine - nobody)
    return added
