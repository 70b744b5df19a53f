"""The learner of one slot: its policy, its click model, and what it publishes of them."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np
from bytewax.operators import StatefulBatchLogic

from operators.io.metrics.learner import LearnerMetrics
from operators.learner_state import (
    CHECKPOINT_INTERVAL,
    LearnerState,
    checkpoint,
    learned_of,
    next_checkpoint,
    older_state,
    pack_learner,
    unpack_learner,
    views_of,
)
from operators.logic.attribution.rules import rules_of
from operators.logic.deciding.contents import content_hash
from operators.logic.features import FeatureMap, scaled_columns
from operators.logic.models import CanonicalOrder, ClickModel, ClickSettings
from operators.logic.policies import Deltas, Policy
from operators.logic.policies.micro_batches import joined, made_since, micros_of, with_features
from operators.logic.policies.published import PublishedPolicy
from operators.logic.policies.reward_scale import on_reward_scale, total_on_scale
from operators.logic.policies.settled import SettledPolicy
from operators.logic.policies.shared import with_known_ids
from operators.logic.policies.snapshot_record import posterior_text
from operators.logic.policy_memory import most_actions
from operators.logic.policy_versions import (
    above_decisions,
    above_published,
    first_version,
    next_generation,
    nothing_published,
)
from operators.logic.publish_rule import PublishRule
from operators.logic.request_actions import (
    MOST_REQUEST_ACTIONS,
    KnownContent,
    RequestActions,
)
from operators.logic.retired import MOST_RETIRED
from operators.logic.settlements import Settlements, in_order
from operators.logic.slot_policy import (
    name_actions,
    policy_dim,
    policy_family,
    unlisted_actions,
)
from operators.logic.slot_views import PolicyView, SlotViews, described_view
from operators.updates import LearnerUpdate, PosteriorUpdate
from schemas.catalog import Action, Slot
from schemas.clock import ALWAYS, NEVER, Clock, micros, moment
from schemas.results import PolicyCheckpoint, PolicySnapshot

LearnerOutput = PublishedPolicy | PolicySnapshot | PolicyCheckpoint
"""What a learner sends on: a policy to scoring, its snapshot and checkpoints to their topics."""


@dataclass(kw_only=True)
class LearnerLogic(StatefulBatchLogic[LearnerUpdate, LearnerOutput, bytes]):
    """One slot's learner: it adds up what every shard changes, and publishes the policy.

    :mod:`operators.logic.publish_rule` says when. The slot, and what is learned in it, are there
    from the first update on. A learner without state asks ``published`` for the highest version of
    its slot that readers may have.
    """

    order: CanonicalOrder
    clock: Clock
    metrics: LearnerMetrics
    slot: Slot | None = None
    actions: tuple[Action, ...] = ()
    views: SlotViews | None = None
    model: ClickModel | None = None
    version: int = 0
    newest: int = NEVER
    publish_rule: PublishRule = field(default_factory=PublishRule)
    checkpoint_due: int = NEVER + CHECKPOINT_INTERVAL
    generation: int = 0
    retired: RequestActions = field(default_factory=RequestActions)
    longest_window: float = 0.0
    newest_decision: int = NEVER
    model_from: int = NEVER
    """Decisions made before were those of another click model."""
    departed: set[int] = field(default_factory=set)
    """The shards that say that the slot is no more."""
    _listed: frozenset[str] = frozenset()
    _unlisted: tuple[str, ...] = ()
    """The actions beside the catalog's that the policy publishes."""
    published: Callable[[str], int] = nothing_published
    _fingerprint: str | None = None

    @property
    def policy(self) -> Policy | None:
        """The policy of the slot's present settings; None before there is a slot."""
        return None if self.views is None else self.views.present.policy

    @property
    def settled(self) -> SettledPolicy | None:
        """What it learned of settled decisions."""
        return None if self.views is None else self.views.present.settled

    @property
    def decisions(self) -> float:
        """How many decisions it learned."""
        return 0.0 if self.views is None else self.views.present.decisions

    @property
    def rewards(self) -> float:
        """The sum of their rewards."""
        return 0.0 if self.views is None else self.views.present.rewards

    @property
    def fingerprint(self) -> str:
        """Name the features that the policy learns from."""
        if self._fingerprint is None:
            assert self.slot is not None
            self._fingerprint = FeatureMap(self.slot.features).logged_fingerprint
        return self._fingerprint

    def on_batch(self, values: list[LearnerUpdate]) -> tuple[Iterable[LearnerOutput], bool]:
        """Add the updates to the statistics, and publish when it is time."""
        updates: list[PosteriorUpdate] = []
        for value in values:
            if isinstance(value, PosteriorUpdate):
                updates.append(value)
                self.departed.discard(value.shard)
            else:
                self.departed.add(value.shard)
        out = self._take_in(updates) if updates else []
        if self.departed and self.departed >= self.order.reported:
            return [*out, *self._withdrawn()], StatefulBatchLogic.DISCARD
        return out, StatefulBatchLogic.RETAIN

    def _take_in(self, values: list[PosteriorUpdate]) -> list[LearnerOutput]:
        if self.slot is None:
            self.version = above_published(self.version, self.published(values[-1].slot.slot_id))
        newest = max(reversed(values), key=lambda update: update.slot.time)
        self._follow_catalog(newest.slot, newest.actions)
        self._learn(values)
        for update in values:
            self.publish_rule.rewards += update.rewards
            self.newest = max(self.newest, update.newest)
            self._pass_versions(update)
        self._learn_settled(values)
        self._forget_retired()
        return [*self._publish_if_due(), *self._checkpoint_if_due()]

    def _withdrawn(self) -> list[LearnerOutput]:
        """Tell scoring to forget the policy of a slot that is no more."""
        if self.slot is None:
            return []
        self.metrics.forget(self.slot.slot_id)
        return [replace(self._next_version(), withdrawn=True)]

    def on_notify(self) -> tuple[Iterable[LearnerOutput], bool]:
        """Publish at the time asked for: changes that no later update published, or a restart."""
        overdue = self.publish_rule.is_overdue(self.clock())
        return self._publish() if overdue else (), StatefulBatchLogic.RETAIN

    def on_eof(self) -> tuple[Iterable[LearnerOutput], bool]:
        """Publish and export what nothing more will come to publish: the input has ended."""
        left = self.publish_rule.unexported
        return self._publish(export=True) if left else (), StatefulBatchLogic.RETAIN

    def notify_at(self) -> datetime | None:
        """Ask to be woken when something learned is not published or not exported yet."""
        if self.slot is None:
            return None
        return self.publish_rule.wake_at(self.slot.policy, self.clock())

    def snapshot(self) -> bytes:
        """Write the statistics, the click model and when they were last published."""
        assert self.slot is not None
        assert self.views is not None
        assert self.model is not None
        present = self.views.present
        state = LearnerState(
            slot=self.slot,
            actions=learned_of(self.actions),
            policy=present.policy.dump(),
            model=self.model.dump(),
            order=self.order.dump(),
            version=self.version,
            newest=self.newest,
            decisions=present.decisions,
            rewards=present.rewards,
            fresh=self.publish_rule.rewards,
            published=self.publish_rule.published,
            settled=present.settled.policy.dump(),
            settled_decisions=present.settled.decisions,
            settled_rewards=present.settled.rewards,
            checkpoint_due=self.checkpoint_due,
            generation=self.generation,
            retired=self.retired.last_met,
            request_actions=self.retired.state(),
            longest_window=self.longest_window,
            newest_decision=self.newest_decision,
            learns_from=present.learns_from,
            departed=sorted(self.departed),
            context=present.context.sums(),
            settled_context=present.settled.context.sums(),
            model_from=self.model_from,
            older=older_state(self.views),
        )
        return pack_learner(state)

    def _follow_catalog(self, slot: Slot, actions: tuple[Action, ...]) -> None:
        """Take the slot as it is now; another policy, features or reward range start anew.

        Another view of features without a declaration starts beside the one that decides. A shard
        that is behind may still have an older slot.
        """
        if slot == self.slot and actions == self.actions:  # each shard has its own tuple of them
            return
        if self.slot is not None and slot.time < self.slot.time:
            return
        begins = max(micros(slot.time), self.newest_decision + 1)
        if self.views is None or self.model is None or _differs(self.slot, slot):
            begins = NEVER if self.slot is None else begins
            self._begin(slot, actions, begins)
        else:
            self.views.follow(slot, actions, begins)
            self.model.count_as_clicks(above=rules_of(slot).default_reward)
        self._unlisted = ()
        listed = frozenset(action.action_id for action in actions)
        self.retired.meet(self._listed - listed, max(self.newest_decision, self.order.watermark))
        self.retired.list_new(listed - self._listed)
        self.longest_window = max(self.longest_window, slot.reward_window)
        self.slot, self.actions, self._listed, self._fingerprint = slot, actions, listed, None
        if slot.candidates == "request":
            self._forget(self.retired.keep_latest(self._most_unlisted))
        self.publish_rule.note_learned()

    def _begin(self, slot: Slot, actions: tuple[Action, ...], learns_from: int) -> None:
        """Begin with a policy and a click model that have learned nothing."""
        dim = policy_dim(slot, FeatureMap(slot.features))
        self.views = SlotViews(present=PolicyView.begin(slot, actions, dim, learns_from))
        settings = ClickSettings(threshold=rules_of(slot).default_reward)
        self.model = ClickModel(dim, settings, scaled_columns(slot.features))
        self.retired = RequestActions()
        self.model_from = learns_from

    def _pass_versions(self, update: PosteriorUpdate) -> None:
        """Go on above earlier lives' versions, and those of decisions not remembered."""
        if update.earlier > self.version:
            self.version = next_generation(update.earlier)
        if update.versions and max(update.versions) > self.version:
            self.version = above_decisions(self.version, update.versions)
            if max(update.versions) > self.version:
                self.metrics.disbelieved(update.slot.slot_id)

    def _learn(self, updates: Iterable[PosteriorUpdate]) -> None:
        """Learn what has the policy's features; decisions of an earlier feature spec have not.

        Decisions made before the policy began teach it nothing: it never counted them, so that the
        rewards that still come for them would be rewards of no decision.
        """
        assert self.views is not None
        assert self.slot is not None
        deciding = self.views.deciding
        parts = []
        for update in updates:
            if update.deltas is None:
                continue
            fitted = with_features(update.deltas, deciding.policy.dim)
            if update.fingerprint not in (self.fingerprint, ""):
                self.metrics.ignored(self.slot.slot_id, "other_features", len(update.deltas))
            elif fitted is None:
                self.metrics.ignored(self.slot.slot_id, "other_width", len(update.deltas))
            else:
                parts.append(self._of_this_policy(fitted, deciding.learns_from))
        parts = [part for part in parts if len(part)]
        if not parts:
            return
        deltas = parts[0] if len(parts) == 1 else joined(parts)
        self.newest_decision = max(self.newest_decision, round(float(deltas.time.max()) * 1e6))
        unlisted = set(deltas.action_ids) - self._listed
        if unlisted:
            self._meet(deltas, unlisted)
        if self.retired.has_forgotten:
            deltas = self._of_known_actions(deltas)
        self.views.learn(deltas)
        self.publish_rule.note_learned()

    @property
    def _most_unlisted(self) -> int:
        """How many actions that only requests list the slot's learner may know."""
        assert self.slot is not None
        return min(MOST_REQUEST_ACTIONS, most_actions(self.slot) - len(self._listed))

    def _meet(self, deltas: Deltas, unlisted: Collection[str]) -> None:
        """Note which actions that the catalog does not have were decided, and when."""
        assert self.slot is not None
        if self.slot.candidates == "catalog":
            self.retired.meet(unlisted, self.newest_decision)
            return
        times = micros_of(deltas)
        pairs = zip(deltas.action_ids, times.tolist(), strict=True)
        met = [(name, at) for name, at in pairs if name in unlisted]
        names, ats = zip(*met, strict=True)
        self._forget(self.retired.admit(names, ats, self._most_unlisted))
        if deltas.contents is not None:
            named = zip(deltas.action_ids, times.tolist(), deltas.contents, strict=True)
            for name, at, text in named:
                if text is not None:
                    self.retired.describe(name, KnownContent(at, content_hash(text), text))

    def _forget(self, action_ids: Sequence[str]) -> None:
        assert self.views is not None
        self.views.forget(action_ids)

    def _of_known_actions(self, deltas: Deltas) -> Deltas:
        """Leave out decisions of actions that were forgotten since, or before they came back.

        Where actions share a model, only what would be these actions' own is left out.
        """
        taught = self.retired.teach(deltas.action_ids, micros_of(deltas), self._listed)
        if taught.all():
            return deltas
        assert self.views is not None
        if self.views.present.rows is not None:
            return replace(deltas, action_ids=with_known_ids(deltas.action_ids, taught))
        assert self.slot is not None
        self.metrics.ignored(self.slot.slot_id, "forgotten_action", int((~taught).sum()))
        return deltas.take(np.flatnonzero(taught))

    def _of_this_policy(self, deltas: Deltas, learns_from: int) -> Deltas:
        """Leave out the decisions that were made before the policy began."""
        learned = made_since(deltas, learns_from)
        if len(learned) < len(deltas):
            assert self.slot is not None
            self.metrics.ignored(self.slot.slot_id, "other_policy", len(deltas) - len(learned))
        return learned

    def _learn_settled(self, updates: Iterable[PosteriorUpdate]) -> None:
        """Let the click model and the settled policy learn settlements that are now complete."""
        assert self.model is not None
        assert self.slot is not None
        assert self.views is not None
        blocks: list[Settlements] = []
        for update in updates:  # complete before its watermark: up to and including the last moment
            blocks += self.order.add(update.shard, update.watermark - 1, update.settled)
        known = (block for block in blocks if block.fingerprint in (self.fingerprint, ""))
        fitted = (block.since(self.model_from).fitted(self.model.dim) for block in known)
        ready = in_order(block for block in fitted if block is not None)
        if ready is None:
            return
        taught = ready
        if self.retired.has_forgotten:
            rows = self.retired.teach(ready.actions, ready.at, self._listed)
            if self.views.present.rows is None:
                taught = ready.take(np.flatnonzero(rows))
            else:
                taught = replace(ready, actions=with_known_ids(ready.actions, rows))
        self.views.learn_settled(taught)
        if self.model.learn(ready):
            self.publish_rule.note_reported()

    def _forget_retired(self) -> None:
        """Forget actions that left the catalog long ago, where there are many."""
        assert self.slot is not None
        if len(self.retired) > MOST_RETIRED and self.slot.candidates == "catalog":
            closed = self.order.watermark - round(self.longest_window * 1e6)
            self._forget(self.retired.forget(closed, MOST_RETIRED))

    def _checkpoint_if_due(self) -> list[PolicyCheckpoint]:
        """Write a checkpoint of what settled decisions have taught, at intervals of event time."""
        reached = self.order.watermark
        if not self.checkpoint_due <= reached < ALWAYS - 1:
            return []
        assert self.slot is not None
        assert self.model is not None
        assert self.views is not None
        present = self.views.present
        settled = present.settled
        state = LearnerState(
            slot=self.slot,
            actions=learned_of(self.actions),
            policy=settled.policy.dump(),
            model=self.model.dump(),
            order=self.order.dump_without_waiting(),
            version=self.version,
            newest=min(self.newest, reached),
            decisions=settled.decisions,
            rewards=settled.rewards,
            fresh=0,
            published=NEVER,
            settled=b"",
            settled_decisions=settled.decisions,
            settled_rewards=settled.rewards,
            checkpoint_due=reached + CHECKPOINT_INTERVAL,
            generation=self.generation,
            retired=self.retired.last_met,
            request_actions=self.retired.state(),
            longest_window=self.longest_window,
            newest_decision=self.newest_decision,
            learns_from=present.learns_from,
            context=settled.context.sums(),
            settled_context=settled.context.sums(),
            model_from=self.model_from,
            older=older_state(self.views, settled_only=True),
        )
        parts = checkpoint(state, reached)
        self.checkpoint_due = next_checkpoint(reached, parts)
        self.generation = 1 - self.generation
        return parts

    def _publish_if_due(self) -> list[PublishedPolicy | PolicySnapshot]:
        assert self.slot is not None
        rule = self.publish_rule
        if not rule.is_due(self.slot.policy, self.newest) or rule.is_resting(self.clock()):
            return []
        return self._publish()

    def _publish(self, *, export: bool = False) -> list[PublishedPolicy | PolicySnapshot]:
        """Publish the policy to scoring, and export a snapshot of it where one is due or asked."""
        began = self.clock()
        published = self._next_version()
        self.publish_rule.note_published(self.newest)
        now = self.clock()
        self.publish_rule.note_took(began, now)
        if not export and not self.publish_rule.is_export_due(now):
            return [published]
        self.publish_rule.note_exported(now)
        return [published, self._described(published)]

    def _name_unlisted(self) -> None:
        """Tell the policy which actions that only requests list it publishes by now."""
        assert self.slot is not None
        assert self.views is not None
        more = unlisted_actions(self.slot, self.retired, len(self.actions), MOST_REQUEST_ACTIONS)
        names = tuple(action.action_id for action in more)
        if names != self._unlisted:
            name_actions(self.views.deciding.policy, self.slot, [*self.actions, *more])
            self._unlisted = names

    def _next_version(self) -> PublishedPolicy:
        assert self.slot is not None
        assert self.views is not None
        self._name_unlisted()
        deciding = self.views.deciding
        self.version += 1
        return PublishedPolicy(
            slot_id=self.slot.slot_id,
            kind=self.slot.policy.kind,
            version=self.version,
            newest=self.newest,
            posterior=deciding.policy.publish(),
            family=policy_family(deciding.slot),
            view=deciding.slot.features.auto,
        )

    def _described(self, published: PublishedPolicy) -> PolicySnapshot:
        assert self.model is not None
        assert self.slot is not None
        assert self.views is not None
        reward_range, deciding = self.slot.reward_range, self.views.deciding
        believed = published.posterior.summary(deciding.context.mean())
        actions = on_reward_scale(believed, reward_range)
        models = self.model.report()
        self.metrics.actions(published.slot_id, actions)
        self.metrics.model(published.slot_id, models)
        return PolicySnapshot(
            slot_id=published.slot_id,
            policy=published.kind,
            version=published.version,
            time=moment(max(published.newest, 0)),
            decisions=deciding.decisions,
            rewards=total_on_scale(deciding.rewards, deciding.decisions, reward_range),
            actions=actions,
            posterior=posterior_text(published.posterior),
            published_at=self.clock(),
            models=models,
            features_view=described_view(self.views),
        )


def resumed(
    snapshot: bytes, clock: Clock, metrics: LearnerMetrics, executions: int = 0
) -> LearnerLogic:
    """Go on from a snapshot; its policy is published at once, because scoring waits for it."""
    state = unpack_learner(snapshot)
    return LearnerLogic(
        order=CanonicalOrder.load(state.order),
        clock=clock,
        metrics=metrics,
        slot=state.slot,
        actions=tuple(state.actions),
        views=views_of(state),
        model=ClickModel.load(state.model),
        version=first_version(executions, state.version),
        newest=state.newest,
        publish_rule=PublishRule(
            rewards=state.fresh,
            published=state.published,
            unpublished=True,
            unexported=True,
            publish_by=clock(),
        ),
        checkpoint_due=state.checkpoint_due,
        generation=state.generation,
        retired=RequestActions(state.retired, state.request_actions),
        longest_window=state.longest_window,
        newest_decision=state.newest_decision,
        model_from=state.learns_from if state.model_from is None else state.model_from,
        departed=set(state.departed),
        _listed=frozenset(action.action_id for action in state.actions),
    )


def _differs(old: Slot | None, new: Slot) -> bool:
    return old is None or policy_family(old) != policy_family(new)
