"""When a learner's policy is published: the one place that knows."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from schemas.catalog import PolicySettings
from schemas.clock import NEVER

SNAPSHOT_INTERVAL = 1_000_000
"""Microseconds of event time between the snapshots that leave the dataflow."""


@dataclass(kw_only=True)
class PublishRule:
    """What was learned since the last publication, and whether it is time for the next.

    A policy that has changed is published after ``publish_rewards`` rewards or
    ``publish_interval`` seconds of event time (:class:`schemas.catalog.PolicySettings`); where no
    further update comes to tell the time, when that interval has passed on the clock. Times are
    event time in microseconds, but for ``wake``, which is the clock's.

    >>> rule = PublishRule(changed=True)
    >>> rule.is_due(PolicySettings(publish_rewards=2), newest=1), rule.wake
    (True, None)
    >>> rule.published_up_to(1)
    >>> rule.changed, rule.is_due(PolicySettings(publish_rewards=2), newest=1)
    (False, False)
    """

    rewards: int = 0
    """Rewards learned since the last publication."""

    published: int = NEVER
    """The newest outcome in the last publication."""

    exported: int = NEVER
    """The newest outcome in the last snapshot that left the dataflow."""

    changed: bool = False
    wake: datetime | None = None

    def is_due(self, settings: PolicySettings, newest: int) -> bool:
        """Tell whether to publish, where ``newest`` is the time of the newest outcome learned."""
        waited = newest - self.published >= settings.publish_interval * 1e6
        return self.changed and (self.rewards >= settings.publish_rewards or waited)

    def is_overdue(self, now: datetime) -> bool:
        """Tell whether the time to wake has come; an earlier call may be one asked for before."""
        return self.wake is not None and self.wake <= now

    def wait(self, settings: PolicySettings, now: datetime) -> None:
        """Set when to wake, where something changed and no time is set yet."""
        if self.changed and self.wake is None:
            self.wake = now + timedelta(seconds=settings.publish_interval)

    def exports(self, newest: int) -> bool:
        """Tell whether a snapshot should leave the dataflow with the publication."""
        return newest - self.exported >= SNAPSHOT_INTERVAL

    def published_up_to(self, newest: int) -> None:
        """Note a publication of all that was learned."""
        self.rewards, self.published, self.changed, self.wake = 0, newest, False, None
