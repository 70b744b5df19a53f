"""A slot that has left the catalog is forgotten by all steps, and begins anew when it returns."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from flows.runtime.clock import system_clock
from operators import attribute, learner
from operators.attribute import AttributeLogic
from operators.decide import admission
from operators.decide.admission import RequestAdmission
from operators.io.metrics.attribution import AttributionMetrics
from operators.io.metrics.decisions import DecisionMetrics
from operators.io.metrics.learner import LearnerMetrics
from operators.learner import LearnerLogic
from operators.logic import slot_lives
from operators.logic.answer_window import AnswerProgress
from operators.logic.catalog import Catalog, CatalogedBatch
from operators.logic.models import CanonicalOrder
from operators.logic.policies.published import PublishedPolicy
from operators.updates import LearnerUpdate
from schemas.catalog import PolicySettings, Slot
from schemas.clock import micros
from schemas.settings import load
from tests.support import records as make
from tests.support.histories import Visitors

SETTINGS = load({}, secret="sixteen letters!", allowed_lateness=5.0)
MINUTE = 60_000_000
KEPT = 20
"""Minutes for which a slot that has left is remembered."""
SHARDS = 2


def began(snapshot: bytes | None = None) -> AttributeLogic:
    """A shard's attribution."""
    return attribute.resumed(SETTINGS.time, SETTINGS.state, None, snapshot, AttributionMetrics())


@dataclass
class Steps:
    """Attribution and admission of some shards, and the learners between them."""

    shards: list[AttributeLogic] = field(default_factory=lambda: [began() for _ in range(SHARDS)])
    learners: dict[str, LearnerLogic] = field(default_factory=dict)
    admission: RequestAdmission = field(default_factory=lambda: admitted(None))
    exported: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    lives: Counter[str] = field(default_factory=Counter)
    metrics: LearnerMetrics = field(default_factory=LearnerMetrics)

    def take(self, batch: CatalogedBatch) -> None:
        """Pass a batch through all steps."""
        out, _ = self.shards[batch.shard].on_batch([batch])
        for update in out:
            if isinstance(update, LearnerUpdate):
                self._learn(update)

    def _learn(self, update: LearnerUpdate) -> None:
        self.lives[update.slot_id] += update.slot_id not in self.learners
        made = LearnerLogic(order=CanonicalOrder(SHARDS), clock=system_clock, metrics=self.metrics)
        logic = self.learners.setdefault(update.slot_id, made)
        published, over = logic.on_batch([update])
        if over:
            del self.learners[update.slot_id]
        self._give(published)

    def restart(self) -> None:
        """Go on from snapshots."""
        self.shards = [began(shard.snapshot()) for shard in self.shards]
        self.admission = admitted(self.admission.snapshot())
        for slot_id, logic in self.learners.items():
            again = learner.resumed(logic.snapshot(), system_clock, self.metrics)
            self.learners[slot_id] = again
            published, _ = again.on_notify()
            self._give(published)

    def _give(self, published: Iterable[Any]) -> None:
        policies = [item for item in published if isinstance(item, PublishedPolicy)]
        self.admission.on_batch([*policies])
        for policy in policies:
            self.exported[policy.slot_id].append(policy.version)


def admitted(snapshot: bytes | None) -> RequestAdmission:
    """The admission of a shard."""
    return admission.resumed(SETTINGS.time, None, snapshot, AnswerProgress(), DecisionMetrics())


def slot(name: str, **fields: Any) -> Slot:
    """A slot that learns at once."""
    policy = PolicySettings(kind="beta", publish_rewards=1)
    return make.slot(name, policy=policy, needs_impression=False, **fields)


def test_learners_and_policies_are_those_of_the_catalog_and_of_who_left_lately(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(slot_lives, "SLOTS_KEPT", KEPT * MINUTE)
    registry = CollectorRegistry()
    steps = Steps(metrics=LearnerMetrics(registry))
    visitors = [Visitors({}, shard) for shard in range(SHARDS)]
    start = micros(make.START)
    for minute in range(150):
        slots = {name: slot(name) for name in ("home", f"s{minute // 3}")}
        if minute == 100:
            slots["s0"] = slot("s0")
        actions = {name: (make.action("a", slots=[name]),) for name in slots}
        catalog, now = Catalog(slots, actions, {}, minute), start + minute * MINUTE
        for shard, maker in enumerate(visitors):
            made = [
                maker.decision(
                    name, None, now, len(maker.decisions) * SHARDS + shard, features=None,
                    expires_at=make.START + timedelta(minutes=minute + 1), policy_version=40,
                )
                for name in slots
            ]  # fmt: skip
            steps.take(CatalogedBatch(shard, now, made, catalog=catalog))
        if minute % 9 == 8:
            steps.restart()
        alive = {"home", *(f"s{number // 3}" for number in range(minute + 1))}
        late = {f"s{number // 3}" for number in range(max(0, minute - KEPT - 3))} - {"s0"}
        assert steps.learners.keys() >= slots.keys()
        assert steps.learners.keys() <= alive
        assert not steps.learners.keys() & (late - slots.keys())
        known = steps.admission.policies.keys() | steps.admission.expected
        assert known <= steps.learners.keys()
        assert all(len(shard.slots) <= KEPT // 3 + 5 for shard in steps.shards)
    assert steps.lives["s0"] == 2
    for versions in steps.exported.values():
        assert versions == sorted(set(versions)), "versions rise, over two lives, too"
    shown = registry.collect()
    labels = {s.labels["slot"] for family in shown for s in family.samples if "slot" in s.labels}
    assert len(labels) <= KEPT // 3 + 5


def test_a_slot_with_pending_decisions_is_not_forgotten_and_one_that_returns_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(slot_lives, "SLOTS_KEPT", KEPT * MINUTE)
    steps, maker, start = Steps(), Visitors({}, 0), micros(make.START)
    for minute in range(120):
        slots = {name: slot(name) for name in ("home", "long", "back")}
        if 1 <= minute < KEPT - 5 or minute > 50:
            del slots["back"]
        if minute > 1:
            del slots["long"]
        catalog = Catalog(slots, {}, {}, minute)
        made = []
        if minute == 1:
            end = make.START + timedelta(minutes=60)
            made = [maker.decision("long", None, start + MINUTE, 1, features=None, expires_at=end)]
        for shard in range(SHARDS):
            batch = CatalogedBatch(shard, start + minute * MINUTE, made, catalog=catalog)
            steps.take(batch)
            made = []
        assert ("long" in steps.learners) == (minute < 61)
        assert ("back" in steps.learners) == (minute < 51 + KEPT)
