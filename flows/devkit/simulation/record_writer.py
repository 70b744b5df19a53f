"""Writes the records of simulated visitors; ids name the run and the request's number."""

from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, cast

import msgspec

from flows.devkit.demo_catalog import SLOT
from flows.devkit.visitors import Visitors
from schemas.consent import Purpose
from schemas.events import Click, Consent, DecisionRequest, Impression, RankableAction

SOURCE = "simulator"


class RecordWriter:
    """Encodes the records of what a visitor does in a slot. Times are seconds since 1970."""

    def __init__(self, run: str, visitors: Visitors, slot: str = SLOT) -> None:
        self._run = run
        self._slot = slot
        digest = blake2b(run.encode(), digest_size=8).hexdigest()
        # A UUID of one's own making (RFC 9562, version 8), as clients' ids mostly are UUIDs.
        self._prefix = f"{digest[:8]}-{digest[8:12]}-8{digest[12:15]}-8000-"
        self._visitors = visitors
        self._names = [f"visitor-{user}" for user in range(len(visitors.users))]
        self._contexts: dict[tuple[int, int], dict[str, Any]] = {}
        self._encode = msgspec.json.Encoder().encode
        self.keys = [name.encode() for name in self._names]

    def request(self, number: int, user: int, hour: int, at: float) -> bytes:
        """Write a decision request."""
        name = self.decision_id(number)
        return self._encode(
            DecisionRequest(
                id=name,
                time=time_at(at),
                subject=self._names[user],
                source=SOURCE,
                slot_id=self._slot,
                decision_id=name,
                context=self._context(user, hour),
            )
        )

    def bringing(
        self, number: int, user: int, context: dict[str, Any], actions: dict[str, Any], at: float
    ) -> bytes:
        """Write a decision request that brings its candidates: their features by id."""
        name = self.decision_id(number)
        return self._encode(
            DecisionRequest(
                id=name,
                time=time_at(at),
                subject=self._names[user],
                source=SOURCE,
                slot_id=self._slot,
                decision_id=name,
                context=context,
                actions=[
                    RankableAction(id, msgspec.Raw(self._encode(features)))
                    for id, features in actions.items()
                ],
            )
        )

    def impression(self, number: int, user: int, action: str, at: float) -> bytes:
        """Write the impression of a decided action."""
        return self._encode(
            Impression(
                id=f"{self._run}-i{number}",
                time=time_at(at),
                subject=self._names[user],
                source=SOURCE,
                decision_id=self.decision_id(number),
                slot_id=self._slot,
                action_id=action,
            )
        )

    def click(self, number: int, user: int, at: float) -> bytes:
        """Write a click on a decision."""
        return self._click(f"{self._run}-c{number}", self.decision_id(number), user, at)

    def late_click(self, number: int, user: int, at: float) -> bytes:
        """Write a click on no decision, at a time long past."""
        name = f"{self._run}-late{number}"
        return self._click(name, name, user, at)

    def consent(self, user: int, at: float) -> bytes:
        """Write a consent that allows a profile."""
        return self._encode(
            Consent(
                id=f"{self._run}-consent{user}",
                time=time_at(at),
                subject=self._names[user],
                source=SOURCE,
                purposes=list(Purpose),
            )
        )

    def decision_id(self, number: int) -> str:
        """Give the decision id of a request."""
        return f"{self._prefix}{number:012x}"

    def number(self, decision_id: str) -> int | None:
        """Give the number of the request that was decided; None if it is not of this run.

        >>> writer = RecordWriter("r", Visitors(0, users=2))
        >>> writer.number(writer.decision_id(17)), writer.number("x")
        (17, None)
        """
        try:
            return int(decision_id[24:], 16) if decision_id.startswith(self._prefix) else None
        except ValueError:  # somebody else's, much like ours
            return None

    def _click(self, name: str, decision_id: str, user: int, at: float) -> bytes:
        return self._encode(
            Click(
                id=name,
                time=time_at(at),
                subject=self._names[user],
                source=SOURCE,
                decision_id=decision_id,
                slot_id=self._slot,
            )
        )

    def _context(self, user: int, hour: int) -> dict[str, Any]:
        """Give the context's JSON, written once for each visitor and hour."""
        found = self._contexts.get((user, hour))
        if found is None:
            raw = msgspec.Raw(self._encode(self._visitors.context(user, hour)))
            found = self._contexts[user, hour] = cast(dict[str, Any], raw)
        return found


def time_at(at: float) -> datetime:
    """Give seconds since 1970 as a time."""
    return datetime.fromtimestamp(at, UTC)
