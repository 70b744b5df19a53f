"""Why a stored decision came out as it did, by the slot's newest policy."""

import base64
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from flows.reports.shared_explanation import explain_jointly
from operators.io.store.protocol import StoredRow
from operators.logic.deciding.explain import explain
from operators.logic.deciding.slates import at_positions
from operators.logic.features import FeatureMap
from operators.logic.policies import Posterior, load_posterior
from operators.logic.policies.linear_posterior import LinearPosterior
from operators.logic.policies.shared import SharedPosterior
from schemas.catalog import AutoFeatures

MOST_FEATURES = 10
"""Features listed; those that moved the choice most come first."""

_RANDOM = ("uniform", "split")

Floats = NDArray[np.float64]
Report = dict[str, Any]


class NotExplainedError(ValueError):
    """A decision cannot be explained; the message says why."""


def explain_decision(
    decision: StoredRow,
    x: Floats | None,
    feature_map: FeatureMap,
    policy: StoredRow | None,
    contents: Mapping[str, bytes] | None = None,
) -> Report:
    """Explain a decision by the newest policy that was published, and say which that is.

    The policy that decided is not kept, so where its version differs the explanation is of what
    is believed now. ``decision`` is the store's row, ``x`` its feature vector [d] (None without
    context), ``policy`` a snapshot's fields, ``contents`` the features of candidates that the
    decision holds, as JSON: where one model scores all of them, these are compared.

    Raises
    ------
    NotExplainedError
        Where there is nothing to explain with.
    """
    if policy is None or not policy.get("posterior"):
        raise NotExplainedError("no posterior of the slot was published, or it is too large to be")
    if policy["policy"] in _RANDOM:
        raise NotExplainedError(
            f"the slot's policy is {policy['policy']}: it draws by fixed shares"
        )
    ranking = decision["ranking"] or []
    ids = [ranked["action_id"] for ranked in ranking]
    if decision["action_id"] not in ids:
        raise NotExplainedError("the decision's record has no probabilities")
    posterior = load_posterior(base64.b64decode(policy["posterior"]))
    probabilities = {ranked["action_id"]: ranked["probability"] for ranked in ranking}
    unknown = 0
    if isinstance(posterior, SharedPosterior):
        if feature_map.spec.auto is None:
            raise NotExplainedError("the slot's features have changed: they are declared by now")
        chosen = decision["action_id"]
        known: dict[str, bytes | None] = {chosen: None}
        known |= {name: text for name, text in (contents or {}).items() if name in probabilities}
        unknown = len(ids) - len(known)
        explained = explain_jointly(
            posterior,
            _view(policy) or feature_map.spec.auto,
            decision["context"] or {},
            known,
            probabilities,
            chosen,
        )
    else:
        names, row, means, widths = _believed(posterior, ids, x, feature_map)
        logged = np.array(list(probabilities.values()))
        explained = explain(names, row, ids, means, logged, decision["action_id"], widths)
    return {
        "of_position": 0,
        "of_policy": policy["policy"],
        "of_policy_version": policy["version"],
        "decided_by_version": decision["policy_version"],
        "held_out": decision["variation_id"] == "holdout",
        "chosen": explained.chosen,
        "runner_up": explained.runner_up,
        "greedy_action": explained.greedy,
        "explored": explained.explored,
        "score_difference": explained.difference,
        "probability_that_chosen_is_better": explained.better,
        "moved_by": explained.contributions[:MOST_FEATURES],
        "actions_not_compared": decision["ranking_left_out"] + unknown,
        "features_not_listed": max(0, len(explained.contributions) - MOST_FEATURES),
    }


def _view(policy: StoredRow) -> AutoFeatures | None:
    """Read how the posterior sees features; None of releases that did not say."""
    view = policy.get("features_view")
    return None if view is None else msgspec.convert(view["auto"], AutoFeatures)


def _believed(
    posterior: Posterior, ids: list[str], x: Floats | None, feature_map: FeatureMap
) -> tuple[list[str], Floats, Floats, Floats | None]:
    """Give feature names, features [d], mean weights [K, d] and the scores' widths [K].

    Features are as the policy sees them: a scaled number is its distance from the mean.
    """
    columns = posterior.columns(ids)
    if not isinstance(posterior, LinearPosterior):
        scores = posterior.weigh(np.ones((1, 1)), columns).eta[0]
        return ["1"], np.ones(1), scores[:, None], None
    dim = posterior.mean.shape[1]
    row = np.ones(1) if x is None else x
    names = [column.name for column in feature_map.describe()][: len(row)]
    positions = dim - len(row)
    if positions < 0 or len(names) != len(row):
        raise NotExplainedError(
            f"the slot's features have changed: the decision has {len(row)}, the policy {dim}"
        )
    if positions:  # of a slate, whose first position all columns of positions leave out
        row = at_positions(row[None], np.zeros(1, dtype=np.intp), positions + 1)[0]
        names += [f"position {place}" for place in range(2, positions + 2)]
    _, widths = posterior.score(row[None], columns)
    return names, posterior.scaled(row), posterior.mean[columns], widths[0]
