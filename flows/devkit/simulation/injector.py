"""Late and malformed records, sent beside the good ones and counted."""

from datetime import UTC, datetime
from typing import Any

import numpy as np

from flows.devkit.demo_catalog import SLOT
from flows.devkit.simulation.injection import Injection
from flows.devkit.simulation.malformed import KINDS, OF_REQUESTS, malformed
from flows.devkit.simulation.outbox import Outbox
from flows.devkit.simulation.record_writer import RecordWriter
from flows.devkit.simulation.script import LATE, MALFORMED, REQUEST, Fate
from flows.devkit.visitors import TAG
from schemas.topics import Topic

PLACES = [
    (topic, kind)
    for topic in (Topic.DECISION_REQUESTS, Topic.IMPRESSIONS, Topic.CLICKS)
    for kind in KINDS
    if topic is Topic.DECISION_REQUESTS or kind not in OF_REQUESTS
]
"""Every kind of malformed record on every topic that can have it; they take turns."""


class Injector:
    """Sends the late and malformed records that an :class:`Injection` asks for."""

    def __init__(
        self, outbox: Outbox, writer: RecordWriter, injection: Injection, seed: int
    ) -> None:
        self._outbox = outbox
        self._writer = writer
        self._injection = injection
        self._rng = np.random.default_rng([TAG, seed, 3])

    def inject(self, first: int, fate: Fate, now: float) -> None:
        """Send such records beside some of these requests, whose first is number ``first``."""
        if not self._injection.any:
            return
        chances = fate.chances[:, :, REQUEST]
        for row in np.flatnonzero(chances[:, LATE] < self._injection.late).tolist():
            self._late(first + row, int(fate.users[row]), now)
        for row in np.flatnonzero(chances[:, MALFORMED] < self._injection.malformed).tolist():
            self._malformed(int(fate.users[row]), now)

    def _late(self, number: int, user: int, now: float) -> None:
        value = self._writer.late_click(number, user, now - self._injection.late_seconds)
        self._outbox.put(Topic.CLICKS, self._writer.keys[user], value, now, now)
        self._outbox.injected["late"] += 1

    def _malformed(self, user: int, now: float) -> None:
        number = self._outbox.injected["malformed"]
        topic, kind = PLACES[number % len(PLACES)]
        key = self._writer.keys[user]
        good: dict[str, Any] = {
            "id": f"malformed-{number}",
            "time": datetime.fromtimestamp(now, UTC).isoformat(),
            "subject": key.decode(),
            "slot_id": SLOT,
            "decision_id": f"malformed-{number}",
        }
        self._outbox.put(topic, key, malformed(kind, self._rng, good), now, now)
        self._outbox.injected["malformed"] += 1
