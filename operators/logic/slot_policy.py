"""Makes the policy that a slot's catalog record declares."""

from collections.abc import Sequence
from hashlib import blake2b

from msgspec.msgpack import Encoder

from operators.logic.features import FeatureMap, action_matrix, fingerprint, scaled_columns
from operators.logic.features.auto_rows import AutoRows
from operators.logic.policies import Policy, make_policy
from operators.logic.policies.published import PublishedPolicy
from operators.logic.policies.shared import SharedParams
from operators.logic.policy_memory import most_actions
from operators.logic.retired import RetiredActions
from schemas.catalog import Action, Slot
from schemas.clock import NEVER

USES_ITEM_FEATURES = frozenset({"logistic", "gaussian", "greedy"})
"""The kinds of policy that learn from what the catalog says of actions."""

_ENCODER = Encoder(order="deterministic")


def policy_dim(slot: Slot, feature_map: FeatureMap) -> int:
    """Count what the slot's policy learns from: its features, and the position in a slate."""
    return feature_map.dim + slot.slate_size - 1


def policy_shape(slot: Slot) -> str:
    """Digest what a posterior depends on: policy, parameters, features, rewards, the slate's size.

    Features count in their order, which is that of the columns. Policies see rewards in [0, 1] of
    ``reward_range``: in another range their numbers mean other rewards, those cut at its ends are
    not known any more, and noises and priors are in its units.
    """
    columns = fingerprint(slot.features), slot.features.scale
    settings = (slot.policy.kind, slot.policy.params, columns, slot.slate_size, slot.reward_range)
    return blake2b(_ENCODER.encode(settings), digest_size=8).hexdigest()


def policy_family(slot: Slot) -> str:
    """Digest what posteriors must have in common to decide for each other's settings.

    With features that are not declared, the log holds what ``shared`` sees through its view of
    them: a posterior of another view or other parameters decides as well, by rows of its own view.
    Logged predictors are in units of ``link``, so another one is another family. All other policies
    are alone in theirs.
    """
    if not has_views(slot):
        return policy_shape(slot)
    link = slot.policy.params.get("link", SharedParams().link)
    settings = (slot.policy.kind, link, slot.slate_size, slot.reward_range)
    return blake2b(_ENCODER.encode(settings), digest_size=8).hexdigest()


def has_views(slot: Slot) -> bool:
    """Tell whether the slot's policy learns from rows that its settings make of logged JSON."""
    return slot.features.auto is not None and slot.policy.kind == "shared"


def learned_rows(slot: Slot) -> AutoRows | None:
    """Make what turns logged JSON into the rows that the slot's policy learns from.

    None where it learns from none.
    """
    if slot.features.auto is None or not has_views(slot):
        return None
    return AutoRows(slot.features.auto, slot.slate_size)


def new_policy(slot: Slot, actions: tuple[Action, ...], dim: int) -> Policy:
    """Make the policy of a slot that has learned nothing, over the slot's actions."""
    scaled = scaled_columns(slot.features)
    width = 0 if slot.features.auto is None else 2**slot.features.auto.bits
    policy = make_policy(slot.policy.kind, slot.policy.params, dim, scaled, width)
    name_actions(policy, slot, actions)
    return policy


def name_actions(policy: Policy, slot: Slot, actions: Sequence[Action]) -> None:
    """Tell a policy what no answer is worth in the slot, and which actions it has."""
    policy.default_reward = worth_of_no_answer(slot)
    ids = [action.action_id for action in actions]
    neighbours = {
        action.action_id: {near.action_id: near.similarity for near in action.neighbours}
        for action in actions
        if action.neighbours
    }
    features = None
    if slot.policy.kind in USES_ITEM_FEATURES:
        features = action_matrix(actions, slot.item_features)
    policy.set_actions(ids, features, neighbours)


def unlisted_actions(slot: Slot, known: RetiredActions, listed: int, most: int) -> list[Action]:
    """Give the actions to publish beside the ``listed`` ones, where the slot takes requests' lists.

    Those that were decided last, ``most`` of them, or as many as the policy has memory for. What is
    not published is decided by the prior, whatever it has earned. Nothing is known of them but
    their ids.
    """
    if slot.candidates != "request":
        return []
    room = min(most, most_actions(slot) - listed)
    return [
        Action(id=action_id, time=slot.time, action_id=action_id, slots=[slot.slot_id])
        for action_id in known.latest(room)
    ]


def worth_of_no_answer(slot: Slot) -> float:
    """Give the reward in [0, 1] of a decision without any.

    >>> from schemas.clock import moment
    >>> worth_of_no_answer(Slot(id="s", time=moment(0), slot_id="s", reward_range=(-1.0, 1.0)))
    0.5
    """
    low, high = slot.reward_range
    return min(1.0, max(0.0, (slot.default_reward - low) / (high - low)))


def first_policy(slot: Slot, actions: tuple[Action, ...], dim: int) -> PublishedPolicy:
    """Publish the prior as version 0, for slots whose learner has published nothing yet."""
    posterior = new_policy(slot, actions, dim).publish()
    return PublishedPolicy(
        slot_id=slot.slot_id,
        kind=slot.policy.kind,
        version=0,
        newest=NEVER,
        posterior=posterior,
        family=policy_family(slot),
        view=slot.features.auto,
    )
