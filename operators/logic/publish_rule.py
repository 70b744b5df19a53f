"""The rule by which a learner publishes its policy to scoring and exports it to other readers."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from schemas.catalog import PolicySettings
from schemas.clock import NEVER

EXPORT_INTERVAL = timedelta(seconds=1)
"""At most so often on the clock a snapshot leaves the dataflow, and at the latest so long after
something was learned."""

LONG_PUBLICATION, REST = timedelta(seconds=0.1), 4
"""A publication that takes so long is followed by a rest of so many times as long."""


@dataclass(kw_only=True)
class PublishRule:
    """Decides when a policy is published and exported, by what was learned since.

    A policy that has changed is *published* to scoring after ``publish_rewards`` rewards or
    ``publish_interval`` seconds of event time (:class:`schemas.catalog.PolicySettings`); where no
    further update comes to tell the time, when that interval has passed on the clock. A publication
    is also *exported*, as a snapshot for readers outside, where the last one left at least
    :data:`EXPORT_INTERVAL` ago; what was published since the last one leaves when that interval has
    passed, also where nothing more comes. A publication that took long is followed by a rest, so
    that publishing takes a bounded share of the learner's time. Times are event time in
    microseconds, but for those on the clock.

    >>> from datetime import UTC
    >>> now, settings = datetime(2026, 1, 1, tzinfo=UTC), PolicySettings(publish_rewards=2)
    >>> rule = PublishRule()
    >>> rule.note_learned()
    >>> rule.is_due(settings, newest=1), rule.is_export_due(now)
    (True, True)
    >>> rule.note_exported(now)
    >>> rule.note_published(1)
    >>> rule.is_due(settings, newest=1), rule.wake_at(settings, now)
    (False, None)
    >>> rule.note_learned()
    >>> rule.note_published(1)
    >>> (rule.wake_at(settings, now) - now).total_seconds()
    1.0
    """

    rewards: int = 0
    """Rewards learned since the last publication."""

    published: int = NEVER
    """The event time of the newest outcome in the last publication."""

    unpublished: bool = False
    """Whether anything was learned, or the catalog changed, since the last publication."""

    unexported: bool = False
    """Whether anything was learned, or the catalog changed, since the last export."""

    exported_at: datetime | None = None
    """When the last snapshot left the dataflow, on the clock; None before the first of this run."""

    publish_by: datetime | None = None
    """When to publish at the latest, on the clock; None where nothing waits for it."""

    export_by: datetime | None = None
    """When to export at the latest, on the clock; None where nothing waits for it."""

    rest_from: datetime | None = None
    rest_until: datetime | None = None
    """Between these times, on the clock, nothing is published."""

    def note_learned(self) -> None:
        """Note that there is something new for scoring and for readers outside."""
        self.unpublished = self.unexported = True

    def note_reported(self) -> None:
        """Note that there is something new for readers outside alone."""
        self.unexported = True

    def is_due(self, settings: PolicySettings, newest: int) -> bool:
        """Tell whether to publish, where ``newest`` is the time of the newest outcome learned."""
        waited = newest - self.published >= settings.publish_interval * 1e6
        return self.unpublished and (self.rewards >= settings.publish_rewards or waited)

    def is_resting(self, now: datetime) -> bool:
        """Tell whether a publication has just taken so long that the next one has to wait."""
        if self.rest_from is None or self.rest_until is None:
            return False
        return self.rest_from <= now < self.rest_until

    def note_took(self, began: datetime, ended: datetime) -> None:
        """Note when a publication was made; what takes long is rested after.

        >>> from datetime import UTC
        >>> began, rule = datetime(2026, 1, 1, tzinfo=UTC), PublishRule()
        >>> rule.note_took(began, began + timedelta(seconds=1))
        >>> [rule.is_resting(began + timedelta(seconds=after)) for after in (2, 6)]
        [True, False]
        """
        took = ended - began
        self.rest_from = self.rest_until = None
        if took >= LONG_PUBLICATION:
            self.rest_from, self.rest_until = ended, ended + REST * took

    def is_overdue(self, now: datetime) -> bool:
        """Tell whether the time to wake has come, for Bytewax may call at times set earlier."""
        return any(by is not None and by <= now for by in (self.publish_by, self.export_by))

    def wake_at(self, settings: PolicySettings, now: datetime) -> datetime | None:
        """Say when to publish or export even if nothing more comes; None where nothing waits."""
        if self.unpublished and self.publish_by is None:
            self.publish_by = now + timedelta(seconds=settings.publish_interval)
            if self.rest_until is not None and self.is_resting(now):
                self.publish_by = max(self.publish_by, self.rest_until)
        if self.unexported and self.export_by is None:
            # A clock that was set back since the last export must not delay the next.
            last = now - EXPORT_INTERVAL if self.exported_at is None else min(self.exported_at, now)
            self.export_by = max(last + EXPORT_INTERVAL, self.publish_by or now)
        return min((by for by in (self.publish_by, self.export_by) if by is not None), default=None)

    def is_export_due(self, now: datetime) -> bool:
        """Tell whether a snapshot should leave the dataflow with a publication."""
        if self.exported_at is None:
            return True
        return not timedelta(0) <= now - self.exported_at < EXPORT_INTERVAL

    def note_published(self, newest: int) -> None:
        """Note that all outcomes up to ``newest`` were published."""
        self.rewards, self.published, self.unpublished, self.publish_by = 0, newest, False, None

    def note_exported(self, now: datetime) -> None:
        """Note that a snapshot of everything learned has left the dataflow."""
        self.exported_at, self.unexported, self.export_by = now, False, None
