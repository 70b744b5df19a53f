"""Why a decision came out as it did, where one model scores all candidates by their features."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from math import sqrt
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from operators.logic.deciding.explain import ActionView, Contribution, Explanation
from operators.logic.features.auto import AutoEncoder, SparseFeatures
from operators.logic.features.auto.survey import ACTION, CONTEXT, NotedHashes
from operators.logic.features.auto_rows import AutoRows
from operators.logic.features.crossing import Crossing, crossed
from operators.logic.features.rows import Rows
from operators.logic.policies.shared import SharedPosterior
from schemas.catalog import AutoFeatures

MOST_PAIRS = 50_000
"""Products whose columns are named; a column of others is called by its number."""

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
    names = _column_names(settings, context, [contents[name] for name in pair])
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


def _column_names(
    settings: AutoFeatures, context: Any, contents: Sequence[bytes | None]
) -> dict[int, str]:
    """Name the columns that the context and these actions fill; several names where they share."""
    found: dict[int, list[str]] = defaultdict(list)
    of_context, of_action = NotedHashes(), NotedHashes()
    encoder = AutoEncoder(settings, of_action)
    actions = [encoder.encode(msgspec.json.decode(text)) for text in contents if text is not None]
    left = _singles(AutoEncoder(settings, of_context).encode(context))
    right = {int(each.names[0]): each for action in actions for each in _singles(action)}
    none, known = encoder.encode(None), list(right.values())
    alone = Crossing(msgspec.structs.replace(settings, crosses=[], context_alone=True))
    contexts = _filled(crossed(alone.operands(left, [[none]] * len(left))))
    own = _filled(alone.rows(none, known))
    for each, columns in zip(left, contexts, strict=True):
        _name(found, columns, f"{CONTEXT} {of_context.names.get(int(each.names[0]), '?')}")
    for each, columns in zip(known, own, strict=True):
        _name(found, columns, f"{ACTION} {of_action.names.get(int(each.names[0]), '?')}")
    if 0 < len(left) * len(known) <= MOST_PAIRS:
        pairs = Crossing(msgspec.structs.replace(settings, context_alone=False))
        products = iter(_filled(crossed(pairs.operands(left, [known] * len(left)))))
        for one in left:
            for each, mine in zip(known, own, strict=True):
                name = (
                    f"{CONTEXT} {of_context.names.get(int(one.names[0]), '?')} × "
                    f"{ACTION} {of_action.names.get(int(each.names[0]), '?')}"
                )
                _name(found, next(products) - mine, name)
    named = {column: " + ".join(sorted(set(names))) for column, names in found.items()}
    return named | {0: "1", _OWN_COLUMN: OWN}


def _name(found: dict[int, list[str]], columns: set[int], name: str) -> None:
    for column in columns:
        found[column].append(name)


def _filled(rows: Rows) -> list[set[int]]:
    """Give the columns of each row, but for the bias."""
    parts: list[NDArray[np.int64]] = np.split(rows.indices, rows.indptr[1:-1])
    return [set(part.tolist()) - {0} for part in parts][: len(rows)]


def _singles(features: SparseFeatures) -> list[SparseFeatures]:
    """Give each feature alone, with the value 1."""
    return list(_each(features))


def _each(features: SparseFeatures) -> Iterator[SparseFeatures]:
    for place, space in enumerate(features.spaces.tolist()):
        yield SparseFeatures(
            namespaces=features.namespaces[space : space + 1],
            spaces=np.zeros(1, np.uint16),
            names=features.names[place : place + 1],
            values=np.ones(1, np.float32),
        )
