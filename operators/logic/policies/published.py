"""A policy as a learner publishes it."""

from dataclasses import dataclass

from operators.logic.policies.base import Posterior
from schemas.catalog import AutoFeatures


@dataclass(slots=True, kw_only=True)
class PublishedPolicy:
    """A slot's posterior, named by its version, on its way to the scoring shards.

    ``newest`` is the event time of the newest outcome that the posterior holds. ``family``
    names the settings that it can decide for (:func:`operators.logic.slot_policy.policy_family`),
    ``view`` says how it sees features without a declaration: candidates are encoded by it, whatever
    the slot's settings are by now. ``withdrawn`` says that the slot is no more, and its policy is
    to be forgotten.
    """

    slot_id: str
    kind: str
    version: int
    newest: int
    posterior: Posterior
    family: str = ""
    view: AutoFeatures | None = None
    withdrawn: bool = False
