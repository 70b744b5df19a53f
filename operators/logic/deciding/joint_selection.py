"""From the joint posterior of candidates' scores to a choice, where one model scores all of them.

Requests bring candidates of their own, so scores lie one after the other, decision by decision; a
selection is a matrix over all the actions that some request of a part may get, as of other
policies (:mod:`operators.logic.deciding.selection`).
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from operators.logic.deciding.draws import point_keys
from operators.logic.deciding.joint_propensity import joint_probabilities
from operators.logic.deciding.joint_slates import draw_joint_slates
from operators.logic.deciding.propensity import NO_ACTION, choose
from operators.logic.deciding.selection import (
    Candidates,
    Floats,
    Selection,
    drawn_numbers,
    eligibility_mask,
    with_floors,
    with_holdout,
)
from operators.logic.deciding.slates import Slates, slate_uniforms
from operators.logic.features.crossing import Operands
from operators.logic.features.rows import Rows
from operators.logic.policies.joint_scores import JointScores
from operators.logic.policies.shared import SharedPosterior
from schemas.catalog import Slot


class JointDecisions:
    """The scores and probabilities of n requests' candidates, and the effect of positions.

    Parameters
    ----------
    scores
        Of all candidates, decision by decision.
    positions : array [k]
        What each position of a slate adds to the mean of a score; the first adds nothing.
    """

    def __init__(self, scores: JointScores, positions: Floats) -> None:
        self.scores = scores
        self.positions = positions
        self.p = joint_probabilities(scores)

    def cut(self, start: int, stop: int) -> "JointDecisions":
        """Give those of the requests from ``start`` to before ``stop``."""
        part = object.__new__(JointDecisions)
        part.positions = self.positions
        scores, first = self.scores, self.scores.indptr[start]
        rows = slice(first, scores.indptr[stop])
        part.p = self.p[rows]
        part.scores = JointScores(
            scores.mean[rows],
            scores.factor[rows],
            scores.own[rows],
            scores.indptr[start : stop + 1] - first,
            scores.keys[start:stop],
        )
        return part


def score_jointly(
    slot: Slot,
    posterior: SharedPosterior,
    parts: Iterable[Operands],
    names: Sequence[Sequence[str]],
    candidates: Candidates,
    position_columns: NDArray[np.int64],
    secret: bytes,
) -> JointDecisions:
    """Score the candidates of n requests.

    Parameters
    ----------
    slot, posterior
    parts
        What is crossed for all candidates, decision by decision.
    names
        The ids of each request's candidates.
    candidates
        Who asks.
    position_columns : array [k]
        The column that stands for each position of a slate, -1 for none.
    secret
        What the points of the quadrature are drawn by.
    """
    ids = [name for some in names for name in some]
    scored = []
    start = 0
    for part in parts:
        stop = start + len(part.which)
        scored.append(posterior.joint(part, ids[start:stop]))
        start = stop
    indptr = np.zeros(len(names) + 1, np.int64)
    np.cumsum([len(some) for some in names], out=indptr[1:])
    scores = JointScores(
        np.concatenate([each.mean for each in scored]),
        np.concatenate([each.factor for each in scored]),
        np.concatenate([each.own for each in scored]),
        indptr,
        point_keys(secret, slot.slot_id, candidates.subjects, candidates.decision_ids),
    )
    return JointDecisions(scores, _effects(posterior, position_columns))


def select_jointly(
    slot: Slot, decisions: JointDecisions, candidates: Candidates, secret: bytes
) -> Selection:
    """Draw an action for each request from its probability vector, or a slate.

    A request's candidates are in the order of ``candidates.action_ids``.
    """
    mask = eligibility_mask(candidates)
    shape = len(candidates.subjects), len(candidates.action_ids)
    places = np.ones(shape, dtype=bool) if mask is None else mask
    policy, eta = np.zeros(shape), np.zeros(shape)
    policy[places], eta[places] = decisions.p, decisions.scores.mean
    policy = with_floors(slot, policy, mask)
    uniform, held_out = drawn_numbers(slot, candidates, secret)
    drawn_from, logged, _ = with_holdout(slot, policy, mask, held_out)
    sizes = np.diff(decisions.scores.indptr)
    size = min(slot.slate_size, int(sizes.max(initial=1)))
    rows = np.arange(len(logged))
    if size == 1:
        chosen = choose(drawn_from, uniform)
        return Selection(
            action_ids=candidates.action_ids,
            mask=mask,
            logged=logged,
            eta=eta,
            held_out=held_out,
            uniform=uniform,
            chosen=chosen,
            propensity=logged[rows, chosen],
        )
    uniforms = slate_uniforms(
        secret, slot.slot_id, candidates.subjects, candidates.decision_ids, size
    )
    by_decision = slot.holdout.unit == "decision"
    drawn = draw_joint_slates(
        decisions.scores,
        uniforms,
        first=decisions.p,
        floor=slot.floor_mass,
        held_out=held_out,
        share=slot.holdout.share if by_decision else 0.0,
    )
    columns = places.nonzero()[1]
    starts = decisions.scores.indptr[:-1, None]
    shown = drawn.chosen != NO_ACTION
    column = np.full(drawn.chosen.shape, NO_ACTION)
    column[shown] = columns[(starts + drawn.chosen)[shown]]
    slates = Slates(column, drawn.conditional, drawn.propensity)
    return Selection(
        action_ids=candidates.action_ids,
        mask=mask,
        logged=logged,
        eta=eta,
        held_out=held_out,
        uniform=uniforms[:, 0],
        chosen=column[:, 0],
        propensity=slates.propensity,
        slates=slates,
        position_eta=eta[rows[:, None], column] + decisions.positions[:size],
    )


def _effects(posterior: SharedPosterior, columns: NDArray[np.int64]) -> Floats:
    """Give the mean coefficients of columns, 0 of none."""
    named = columns >= 0
    rows = Rows(
        np.concatenate([np.zeros(1, np.int64), np.cumsum(named)]),
        columns[named],
        np.ones(int(named.sum())),
        int(columns.max(initial=0)) + 1,
    )
    effects: Floats = posterior.score(rows, [""] * len(columns)).mean
    return effects
