"""From a posterior to a choice: weigh, mix in floors and the hold-out, draw."""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from operators.logic.deciding import draws
from operators.logic.deciding.propensity import choose, mix, spread_floor, uniform_over
from operators.logic.deciding.slates import (
    Slates,
    at_positions,
    draw_slates,
    mixed_slates,
    slate_uniforms,
)
from operators.logic.policies import Posterior
from schemas.catalog import Slot

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


class Candidates(Struct, frozen=True, eq=False):
    """What n requests to one slot may get: features x [n, d], the K actions, who asks.

    ``eligible`` holds the ids that each request may get, or None for all of ``action_ids``.
    """

    x: Floats
    action_ids: tuple[str, ...]
    eligible: Sequence[Sequence[str] | None]
    subjects: Sequence[str]
    decision_ids: Sequence[str]


class Selection(Struct, frozen=True, kw_only=True, eq=False):
    """What was drawn for each request, and the probabilities that it was drawn with.

    Attributes
    ----------
    action_ids : tuple of str, K
    mask : array [n, K] or None
        Which actions were eligible; None where all were.
    logged : array [n, K]
        The probability of each action over all of the randomisation that counts: the mixture with
        the hold-out when single decisions are held out, the vector of the subject's group when
        subjects are.
    eta : array [n, K]
        The mean linear predictor of each action.
    held_out : array [n]
        Whether the request fell to the uniform hold-out.
    uniform : array [n]
        The number that picked the action.
    chosen : array [n]
        The column of the chosen action.
    propensity : array [n]
        ``logged`` of the chosen action; of the order shown where the slot shows a slate.
    slates : Slates or None
        What is shown where the slot shows several actions; ``chosen`` is its first column.
    position_eta : array [n, k] or None
        The mean linear predictor of each action of the slate at its position.
    """

    action_ids: tuple[str, ...]
    mask: Mask | None
    logged: Floats
    eta: Floats
    held_out: Mask
    uniform: Floats
    chosen: NDArray[np.intp]
    propensity: Floats
    slates: Slates | None = None
    position_eta: Floats | None = None


def select(slot: Slot, posterior: Posterior, candidates: Candidates, secret: bytes) -> Selection:
    """Draw an action for each request from its probability vector."""
    mask = eligibility_mask(candidates)
    x = at_position(candidates.x, 0, slot.slate_size)
    weights = posterior.weigh(x, posterior.columns(candidates.action_ids), mask)
    policy = with_floors(slot, weights.p, mask)
    names = secret, slot.slot_id, candidates.subjects, candidates.decision_ids
    uniform, held_out = drawn_numbers(slot, candidates, secret)
    share = slot.holdout.share
    drawn_from, logged, uniform_vector = with_holdout(slot, policy, mask, held_out)
    eta = np.broadcast_to(weights.eta, logged.shape)
    size = min(slot.slate_size, len(candidates.action_ids))
    if size == 1:
        chosen = choose(drawn_from, uniform)
        propensity = logged[np.arange(len(chosen)), chosen]
        return Selection(
            action_ids=candidates.action_ids,
            mask=mask,
            logged=logged,
            eta=eta,
            held_out=held_out,
            uniform=uniform,
            chosen=chosen,
            propensity=propensity,
        )
    uniforms = slate_uniforms(*names, size)
    slates = draw_slates(drawn_from, uniforms)
    if share > 0.0 and slot.holdout.unit == "decision":
        slates = mixed_slates(slates.chosen, [(1.0 - share, policy), (share, uniform_vector)])
    return Selection(
        action_ids=candidates.action_ids,
        mask=mask,
        logged=logged,
        eta=eta,
        held_out=held_out,
        uniform=uniforms[:, 0],
        chosen=slates.chosen[:, 0],
        propensity=slates.propensity,
        slates=slates,
        position_eta=_position_eta(slot, posterior, candidates, slates.chosen),
    )


def with_floors(slot: Slot, p: Floats, mask: Mask | None) -> Floats:
    """Give the policy's probabilities [n, K] of eligible actions, none below the slot's floors."""
    floor: float | Floats = slot.floor
    if slot.floor_mass > 0.0:
        floor = floor + spread_floor(_all_of(p) if mask is None else mask, slot.floor_mass)
    return mix(p, mask, floor=floor)


def drawn_numbers(slot: Slot, candidates: Candidates, secret: bytes) -> tuple[Floats, Mask]:
    """Draw the number that picks each request's action, and whether it is held out."""
    names = secret, slot.slot_id, candidates.subjects, candidates.decision_ids
    uniform, group = draws.uniform_pairs(*names)
    share = slot.holdout.share
    if slot.holdout.unit == "subject" and share > 0.0:
        group = draws.sticky_uniforms(secret, slot.slot_id, candidates.subjects)
    return uniform, group < share


def with_holdout(
    slot: Slot, policy: Floats, mask: Mask | None, held_out: Mask
) -> tuple[Floats, Floats, Floats]:
    """Give the vectors [n, K] that are drawn from, those that are logged, and the uniform ones.

    Without a hold-out all three are the policy's.
    """
    share = slot.holdout.share
    if not share > 0.0:
        return policy, policy, policy
    uniform_vector = uniform_over(_all_of(policy) if mask is None else mask)
    drawn_from = logged = np.where(held_out[:, None], uniform_vector, policy)
    if slot.holdout.unit == "decision":
        logged = (1.0 - share) * policy + share * uniform_vector
    return drawn_from, logged, uniform_vector


def _all_of(p: Floats) -> Mask:
    return np.ones(p.shape, dtype=bool)


def at_position(x: Floats, position: int, size: int) -> Floats:
    """Give the feature vectors of a slot that shows ``size`` actions, at one position."""
    return x if size == 1 else at_positions(x, np.full(len(x), position), size)


def _position_eta(
    slot: Slot, posterior: Posterior, candidates: Candidates, chosen: NDArray[np.intp]
) -> Floats:
    columns = posterior.columns(candidates.action_ids)
    rows = np.arange(len(chosen))
    eta = np.zeros(chosen.shape)
    for position in range(chosen.shape[1]):
        x = at_position(candidates.x, position, slot.slate_size)
        means = posterior.weigh(x, columns).eta
        eta[:, position] = np.broadcast_to(means, (len(rows), len(columns)))[
            rows, chosen[:, position]
        ]
    return eta


def eligibility_mask(candidates: Candidates) -> Mask | None:
    """Give the mask of eligible actions [n, K], or None where every action always is."""
    if all(names is None for names in candidates.eligible):
        return None
    column = {name: place for place, name in enumerate(candidates.action_ids)}
    mask = np.zeros((len(candidates.eligible), len(column)), dtype=bool)
    known: dict[int, int] = {}  # requests of one variation share a list
    for row, names in enumerate(candidates.eligible):
        if names is None:
            mask[row] = True
        elif (alike := known.setdefault(id(names), row)) < row:
            mask[row] = mask[alike]
        else:
            mask[row, [column[name] for name in names]] = True
    return mask
