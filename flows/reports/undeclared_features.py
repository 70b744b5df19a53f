"""What the newest requests of a slot become where its features are not declared."""

from flows.runtime.clock import system_clock
from operators.io.kafka import client as kafka_client
from operators.io.kafka.partition import read_partition
from operators.io.store.protocol import Store
from operators.logic.features.auto.survey import ACTION, CONTEXT, Findings, Survey
from schemas.catalog import AutoFeatures
from schemas.codec import decode
from schemas.events import DecisionRequest
from schemas.settings import Settings
from schemas.topics import Topic

NEWEST = 10_000
"""Requests of each partition that are looked at, those of other slots included."""


def survey(settings: Settings, store: Store, slot_id: str, auto: AutoFeatures) -> Findings:
    """Look at the features of the slot's newest requests, and of the actions that it may show.

    These are the store's, once each, and those that requests describe, as often as they do.
    """
    found = Survey(auto)
    kafka = settings.kafka
    kafka_client.check_topics(kafka, kafka_client.admin_client(kafka), [Topic.DECISION_REQUESTS])
    for shard in range(kafka.partitions):
        records = read_partition(kafka, Topic.DECISION_REQUESTS, shard, system_clock, NEWEST)
        for payload, _, _, _ in records:
            request = decode(Topic.DECISION_REQUESTS, payload, kafka.max_record_bytes)
            if isinstance(request, DecisionRequest) and request.slot_id == slot_id:
                found.add(CONTEXT, request.context)
                for action in request.actions or ():
                    features = getattr(action, "features", None)  # an id has none
                    if features is not None:
                        found.add(ACTION, features)
    after = None
    while page := store.rows("actions", after):
        for row in page:
            after = row["action_id"]
            if slot_id in row["slots"] and row["enabled"] and not row["deleted"]:
                found.add(ACTION, row["features"])
    return found.findings()
