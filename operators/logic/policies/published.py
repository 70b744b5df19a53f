"""A policy as a learner publishes it."""

from dataclasses import dataclass

from operators.logic.policies.base import Posterior


@dataclass(slots=True, kw_only=True)
class PublishedPolicy:
    """A slot's posterior, named by its version, on its way to the scoring shards.

    ``newest`` is the event time of the newest outcome that the posterior holds. ``shape`` names the
    settings that it was learned under: it can decide for no others. ``withdrawn`` says that the
    slot is no more, and its policy is to be forgotten.
    """

    slot_id: str
    kind: str
    version: int
    newest: int
    posterior: Posterior
    shape: str = ""
    withdrawn: bool = False
