"""The rule by which a learner publishes its policy."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from schemas.catalog import PolicySettings
from schemas.clock import NEVER

SNAPSHOT_INTERVAL = 1_000_000
"""Microseconds of event time between the snapshots that leave the dataflow."""


@dataclass(kw_only=True)
class PublishRule:
    """Decides when a policy is published, by what was learned since the last publication.

    A policy that has changed is published after ``publish_rewards`` rewards or
    ``publish_interval`` seconds of event time (:class:`schemas.catalog.PolicySettings`); where no
    further update comes to tell the time, when that interval has passed on the clock. Times are
    event time in microseconds, but for ``wake``, which is the clock's.

    >>> rule = PublishRule(changed=True)
    >>> rule.is_due(PolicySettings(publish_rewards=2), newest=1), rule.wake
    (True, None)
    >>> rule.note_published(1)
    >>> rule.changed, rule.is_due(PolicySettings(publish_rewards=2), newest=1)
    (False, False)
    """

    rewards: int = 0
    """Rewards learned since the last publication."""

    published: int = NEVER
    """The event time of the newest outcome in the last publication."""

    exported: int = NEVER
    """The event time of the newest outcome in the last snapshot that left the dataflow."""

    changed: bool = False
    """Whether anything was learned, or the catalog changed, since the last publication."""

    wake: datetime | None = None
    """When to publish at the latest, on the clock; None where nothing waits for it."""

    def is_due(self, settings: PolicySettings, newest: int) -> bool:
        """Tell whether to publish, where ``newest`` is the time of the newest outcome learned."""
        waited = newest - self.published >= settings.publish_interval * 1e6
        return self.changed and (self.rewards >= settings.publish_rewards or waited)

    def is_overdue(self, now: datetime) -> bool:
        """Tell whether the time to wake has come, for Bytewax may call at times set earlier."""
        return self.wake is not None and self.wake <= now

    def wait(self, settings: PolicySettings, now: datetime) -> None:
        """Set when to wake, where something changed and no time is set yet."""
        if self.changed and self.wake is None:
            self.wake = now + timedelta(seconds=settings.publish_interval)

    def is_export_due(self, newest: int) -> bool:
        """Tell whether a snapshot should leave the dataflow with the publication."""
        return newest - self.exported >= SNAPSHOT_INTERVAL

    def note_published(self, newest: int) -> None:
        """Note that all outcomes up to ``newest`` were published."""
        self.rewards, self.published, self.changed, self.wake = 0, newest, False, None
