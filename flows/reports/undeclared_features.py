"""What the newest requests of a slot become where its features are not declared."""

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


def survey(settings: Settings, store: Store, slot: Slot) -> Findings:
    """Look at the features of the slot's newest requests, and of the actions that it may show.

    These are the store's, once each, and those that requests bring where the slot takes them, as
    often as they do. A request that the flow refuses for them is passed over.
    """
    auto, slot_id = slot.features.auto, slot.slot_id
    assert auto is not None
    found, contents = Survey(auto), ActionContents()
    kafka = settings.kafka
    kafka_client.check_topics(kafka, kafka_client.admin_client(kafka), [Topic.DECISION_REQUESTS])
    for shard in range(kafka.partitions):
        records = read_partition(kafka, Topic.DECISION_REQUESTS, shard, system_clock, NEWEST)
        for payload, _, _, _ in records:
            request = decode(Topic.DECISION_REQUESTS, payload, kafka.max_record_bytes)
            if isinstance(request, DecisionRequest) and request.slot_id == slot_id:
                _take_in(found, request, slot, contents)
    after = None
    while page := store.rows("actions", after):
        for row in page:
            after = row["action_id"]
            if slot_id in row["slots"] and row["enabled"] and not row["deleted"]:
                found.add(ACTION, row["features"])
    return found.findings()


def _take_in(found: Survey, request: DecisionRequest, slot: Slot, contents: ActionContents) -> None:
    """Take in what a request becomes as the flow does, which reads no more of it."""
    brought: Iterable[ActionContent] = ()
    if slot.candidates == "request":
        actions = request.actions or ()
        described = contents.of_request(actions, set(asked_ids(actions)) - {*request.excluded})
        if isinstance(described, Flaw):
            return
        brought = described.values()
    context = read_context(request.context)
    if isinstance(context, Flaw):
        found.leave_out(CONTEXT, context.reason)
    else:
        found.add(CONTEXT, request.context)
    for content in brought:
        found.add(ACTION, msgspec.json.decode(content.text))
