"""Writes the records of simulated visitors; ids hold the run's name and the request's number."""

from datetime import UTC, datetime
from typing import Any, cast

import msgspec

from flows.demo_catalog import SLOT
from flows.visitors import Visitors
from schemas.events import Click, Consent, DecisionRequest, Impression

SOURCE = "simulator"
PURPOSES = [1, 5, 6, 8, 10, 11]


class Pen:
    """Encodes what a visitor does. Times are seconds since 1970."""

    def __init__(self, run: str, visitors: Visitors) -> None:
        self._run = run
        self._visitors = visitors
        self._names = [f"visitor-{user}" for user in range(len(visitors.users))]
        self._contexts: dict[tuple[int, int], dict[str, Any]] = {}
        self._encode = msgspec.json.Encoder().encode
        self.keys = [name.encode() for name in self._names]

    def request(self, number: int, user: int, hour: int, at: float) -> bytes:
        """Ask what to show."""
        name = f"{self._run}-{number}"
        return self._encode(
            DecisionRequest(
                id=name,
                time=moment(at),
                subject=self._names[user],
                source=SOURCE,
                slot_id=SLOT,
                decision_id=name,
                context=self._context(user, hour),
            )
        )

    def impression(self, number: int, user: int, action: str, at: float) -> bytes:
        """See what was decided."""
        return self._encode(
            Impression(
                id=f"{self._run}-i{number}",
                time=moment(at),
                subject=self._names[user],
                source=SOURCE,
                decision_id=f"{self._run}-{number}",
                slot_id=SLOT,
                action_id=action,
            )
        )

    def click(self, number: int, user: int, at: float) -> bytes:
        """Click it."""
        return self._click(f"{self._run}-c{number}", f"{self._run}-{number}", user, at)

    def late_click(self, number: int, user: int, at: float) -> bytes:
        """Click what was never decided, at a time long past."""
        name = f"{self._run}-late{number}"
        return self._click(name, name, user, at)

    def consent(self, user: int, at: float) -> bytes:
        """Consent to a profile."""
        return self._encode(
            Consent(
                id=f"{self._run}-consent{user}",
                time=moment(at),
                subject=self._names[user],
                source=SOURCE,
                purposes=PURPOSES,
            )
        )

    def number(self, decision_id: str) -> int | None:
        """Give the number of the request that was decided; None if it is not of this run.

        >>> (
        ...     Pen("r", Visitors(0, users=2)).number("r-17"),
        ...     Pen("r", Visitors(0, users=2)).number("x"),
        ... )
        (17, None)
        """
        run, _, number = decision_id.rpartition("-")
        return int(number) if run == self._run and number.isdecimal() else None

    def _click(self, name: str, decision_id: str, user: int, at: float) -> bytes:
        return self._encode(
            Click(
                id=name,
                time=moment(at),
                subject=self._names[user],
                source=SOURCE,
                decision_id=decision_id,
                slot_id=SLOT,
            )
        )

    def _context(self, user: int, hour: int) -> dict[str, Any]:
        """Give the context's JSON, written once for each visitor and hour."""
        found = self._contexts.get((user, hour))
        if found is None:
            raw = msgspec.Raw(self._encode(self._visitors.context(user, hour)))
            found = self._contexts[user, hour] = cast(dict[str, Any], raw)
        return found


def moment(at: float) -> datetime:
    """Give seconds since 1970 as a time."""
    return datetime.fromtimestamp(at, UTC)
