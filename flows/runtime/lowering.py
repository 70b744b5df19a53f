"""Lowers the time that a stopped personalize flow has come to, where a clock was ahead.

What is settled stays settled, what is learned stays learned, what is answered stays answered.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from flows.personalize import Steps
from flows.registry import PERSONALIZE
from flows.runtime.recovery import owned_recovery, recovery_folder
from flows.runtime.snapshots import States, read_states, rewrite
from operators.attach_catalog import lower_attach
from operators.attribute import lower_attribute
from operators.decide.admission import lower_admission
from operators.factors import lower_factors
from operators.io.kafka.group import lower_source
from operators.io.kafka.sink import lower_fence
from operators.io.kafka.starts import starts
from operators.learner_state import lower_learner
from operators.profile import lower_profiles
from schemas.clock import Clock
from schemas.settings import Settings
from schemas.topics import Topic

Lower = Callable[[bytes, int], tuple[bytes, int]]
"""Lowers the watermark in a snapshot to a time in microseconds; gives what it was, too."""


def lowering(lateness: int) -> Mapping[Steps, Lower]:
    """Name what lowers the snapshots of each step; some are ``lateness`` behind the watermark."""
    return {
        Steps.RECORDS: lower_source,
        Steps.HOLD: lower_attach,
        Steps.PROFILES: lower_profiles,
        Steps.ATTRIBUTION: partial(lower_attribute, lateness=lateness),
        Steps.FACTORS: partial(lower_factors, lateness=lateness),
        Steps.LEARNERS: partial(lower_learner, lateness=lateness),
        Steps.ADMISSION: lower_admission,
    }


class Lowered(NamedTuple):
    """A watermark that was lowered: of which step and state key, and what it was."""

    step: Steps
    key: str
    before: int


def lower_watermarks(settings: Settings, to: int, clock: Clock) -> list[Lowered]:
    """Lower every watermark later than ``to`` in the flow's recovery store, all of them or none.

    Requests that were answered within the dedup horizon are looked up in the topic at the next
    start, since the flow may have forgotten them. Raises
    :class:`~flows.runtime.recovery.RecoveryError` where the flow runs, or has no store.
    """
    folder = recovery_folder(settings, PERSONALIZE.name)
    read_states(folder)  # says where there is none, before one is made
    with owned_recovery(settings, PERSONALIZE.name):
        states = read_states(folder)
        lowered: list[Lowered] = []
        changed: States = {}
        for step, lower in lowering(round(settings.time.allowed_lateness * 1e6)).items():
            for key, snapshot in sorted(states.get(step, {}).items()):
                after, before = lower(snapshot, to)
                if before > to:
                    changed.setdefault(step, {})[key] = after
                    lowered.append(Lowered(step, key, before))
        if Steps.ADMISSION in changed:
            changed[Steps.DECISIONS_OUT] = _fences(settings, states, to, clock)
        rewrite(folder, changed)
    return lowered


def _fences(settings: Settings, states: States, to: int, clock: Clock) -> dict[str, bytes]:
    """Let the fence of decisions begin before the oldest that a request may repeat."""
    since = to - round((settings.time.dedup_horizon + settings.time.max_skew) * 1e6)
    begin = {
        start.shard: start.offset
        for start in starts(settings.kafka, [Topic.DECISIONS], since, clock)
    }
    return {
        key: lower_fence(snapshot, begin[int(key)])
        for key, snapshot in states.get(Steps.DECISIONS_OUT, {}).items()
    }
