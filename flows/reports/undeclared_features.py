"""What the newest requests of a slot become where its features are not declared."""

from collections import Counter
from collections.abc import Iterable

import msgspec

from flows.runtime.clock import system_clock
from operators.io.kafka import client as kafka_client
from operators.io.kafka.partition import read_partition
from operators.io.store.protocol import Store
from operators.logic.deciding.contents import ActionContent, ActionContents, read_context
from operators.logic.deciding.eligibility import asked_ids
from operators.logic.features.auto.survey import ACTION, CONTEXT, Findings, Survey
from schemas.catalog import Slot
from schemas.codec import Flaw, decode
from schemas.events import DecisionRequest
from schemas.settings import Settings
from schemas.topics import Topic

NEWEST = 10_000
"""Requests of each partition that are looked at, those of other slots included."""

MOST_WAITING = 32 * 2**20
"""Bytes of actions' features that are kept to be looked at once for all times that they came."""


def survey(settings: Settings, store: Store, slot: Slot) -> Findings:
    """Look at the features of the slot's newest requests, and of the actions that it may show.

    These are the store's, once each, and those that requests bring where the slot takes them, as
    often as they do. A request that the flow refuses for them is passed over.
    """
    auto, slot_id = slot.features.auto, slot.slot_id
    assert auto is not None
    found, brought = Survey(auto), _Brought()
    kafka = settings.kafka
    kafka_client.check_topics(kafka, kafka_client.admin_client(kafka), [Topic.DECISION_REQUESTS])
    for shard in range(kafka.partitions):
        records = read_partition(kafka, Topic.DECISION_REQUESTS, shard, system_clock, NEWEST)
        for payload, _, _, _ in records:
            request = decode(Topic.DECISION_REQUESTS, payload, kafka.max_record_bytes)
            if isinstance(request, DecisionRequest) and request.slot_id == slot_id:
                _take_in(found, request, slot, brought)
    brought.pass_on(found)
    after = None
    while page := store.rows("actions", after):
        for row in page:
            after = row["action_id"]
            if slot_id in row["slots"] and row["enabled"] and not row["deleted"]:
                found.add(ACTION, row["features"])
    return found.findings()


class _Brought:
    """The features that requests bring, counted by content until they are passed on."""

    def __init__(self) -> None:
        self.contents = ActionContents()
        self._size = 0
        self._times: Counter[bytes] = Counter()

    def add(self, described: Iterable[ActionContent], found: Survey) -> None:
        """Count what one request says of its actions."""
        for content in described:
            if content.text not in self._times:
                self._size += len(content.text)
            self._times[content.text] += 1
        if self._size > MOST_WAITING:
            self.pass_on(found)

    def pass_on(self, found: Survey) -> None:
        """Let the survey look at each content once."""
        for text, times in self._times.items():
            found.add(ACTION, msgspec.json.decode(text), times)
        self._times.clear()
        self._size = 0


def _take_in(found: Survey, request: DecisionRequest, slot: Slot, brought: _Brought) -> None:
    """Take in what a request becomes as the flow does, which reads no more of it."""
    if slot.candidates == "request":
        actions = request.actions or ()
        shown = {*asked_ids(actions)}.difference(request.excluded)
        described = brought.contents.of_request(actions, shown)
        if isinstance(described, Flaw):
            return
        brought.add(described.values(), found)
    context = read_context(request.context)
    if isinstance(context, Flaw):
        found.leave_out(CONTEXT, context.reason)
    else:
        found.add(CONTEXT, request.context)
