"""What the learners know, against policies that learn the recomputed decisions from nothing."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from flows.personalize import Steps
from flows.runtime.snapshots import States
from flows.verification.findings import Verification
from flows.verification.shared_columns import shared_checks
from flows.verification.statistics import PolicyStatistics, checks_of, statistics_of
from flows.verification.views import FreshView, changed_slots, fresh_views
from operators.learner_state import LearnerState, unpack_learner
from operators.logic.catalog import Catalog, CatalogHistory
from operators.logic.features import FeatureMap
from operators.logic.policies import Deltas
from operators.logic.policies.micro_batches import made_since, micros_of, with_rows
from operators.logic.policies.shared import with_known_ids
from operators.logic.policies.statistics import Statistics
from operators.logic.recount import Verdict, contributions
from operators.logic.request_actions import RequestActions
from operators.logic.retired import MOST_RETIRED


class Learners:
    """A fresh policy per slot; slots that changed their policy or went away are left out.

    Those whose view of undeclared features changed are not: what is learned under it, and under the
    older one that still decides, is learned here, too, of decisions made since each began. That,
    and what a learner has forgotten of actions that only requests list, is known by what its own
    state in ``states`` says about it.
    """

    def __init__(self, history: CatalogHistory, states: States | None = None) -> None:
        catalogs = [history.as_of(at) for at in _changes(history)]
        self._catalogs = catalogs
        self._catalog: Catalog = catalogs[-1]
        kept = {
            slot_id: unpack_learner(snapshot)
            for slot_id, snapshot in (states or {}).get(Steps.LEARNERS, {}).items()
        }
        self.skipped = sorted(changed_slots(catalogs, kept))
        self._views: dict[str, list[FreshView]] = {}
        self._fingerprints: dict[str, str] = {}
        self._known = _known_actions(kept)
        self._left_out: dict[str, set[str]] = {}
        for slot_id, slot in sorted(self._catalog.slots.items()):
            if slot_id not in self.skipped:
                actions = self._catalog.actions[slot_id]
                self._fingerprints[slot_id] = FeatureMap(slot.features).logged_fingerprint
                self._views[slot_id] = fresh_views(slot, actions, kept.get(slot_id))

    def learn(self, verdicts: Iterable[Verdict], weights: Mapping[int, float]) -> None:
        """Learn a shard's decisions; ``weights`` says, by key, how much of one counts so far.

        What was logged under another feature spec than the slot's is left out, as learners do.
        """
        by_slot: dict[str, list[Verdict]] = {}
        for verdict in verdicts:
            body = verdict.decision.body
            known = self._known.get(body.slot_id)
            if (
                known is not None
                and not self._shares(body.slot_id)
                and not known.learns(body.action_id, verdict.decision.at)
            ):
                self._left_out.setdefault(body.slot_id, set()).add(body.action_id)
            elif body.mapping in (self._fingerprints.get(body.slot_id), ""):
                by_slot.setdefault(body.slot_id, []).append(verdict)
        for slot_id, of_slot in by_slot.items():
            views = self._views.get(slot_id, [])
            for view in views:
                deltas = contributions(of_slot, view.policy.dim, weights)
                if view.rows is not None:
                    deltas = self._with_known_ids(slot_id, deltas)
                for part in with_rows(made_since(deltas, view.learns_from), view.rows):
                    view.policy.learn(part)

    def _shares(self, slot_id: str) -> bool:
        """Tell whether the slot's actions share a model."""
        return any(view.rows is not None for view in self._views.get(slot_id, []))

    def _with_known_ids(self, slot_id: str, deltas: Deltas) -> Deltas:
        """Leave to a shared model alone what its learner has forgotten of single actions."""
        known = self._known.get(slot_id)
        if known is None:
            return deltas
        taught = known.others.teach(deltas.action_ids, micros_of(deltas), known.listed)
        pairs = zip(deltas.action_ids, taught.tolist(), strict=True)
        forgotten = {action_id for action_id, is_known in pairs if not is_known}
        self._left_out.setdefault(slot_id, set()).update(forgotten)
        return replace(deltas, action_ids=with_known_ids(deltas.action_ids, taught))

    def compare(self, report: Verification, states: States) -> None:
        """Compare every statistic of every action that either of the two knows."""
        report.skipped = self.skipped
        learners = states.get(Steps.LEARNERS, {})
        for slot_id, views in self._views.items():
            state = unpack_learner(learners[slot_id]) if slot_id in learners else None
            for view in views:
                self._compare_view(report, slot_id, view, None if state is None else view.of(state))
        report.largest_difference = max((a.difference for a in report.actions), default=0.0)

    def _compare_view(
        self, report: Verification, slot_id: str, view: "FreshView", kept: bytes | None
    ) -> None:
        fresh = statistics_of(view.policy.dump())
        if fresh is None:
            return
        learned = statistics_of(kept) if kept is not None else None
        learned = learned or PolicyStatistics(Statistics({}))
        known = {*learned.by_action.ids, *fresh.by_action.ids}
        forgotten = self._may_be_forgotten(slot_id, known)
        if not view.is_older:
            report.forgotten += len(forgotten | self._left_out.get(slot_id, set()))
        for statistics in (learned, fresh):
            statistics.by_action.drop(forgotten)
        name = view.name(slot_id)
        report.actions += checks_of(name, learned.by_action, fresh.by_action)
        if fresh.shared is not None:
            report.actions += shared_checks(name, learned.shared, fresh.shared, forgotten)

    def _may_be_forgotten(self, slot_id: str, known: set[str]) -> set[str]:
        """Name the actions that were not in the slot's catalog throughout, where they are many.

        Of those that only requests list, the learner says itself which ones it has forgotten.
        """
        slots = [catalog.slots.get(slot_id) for catalog in self._catalogs]
        if all(slot is None or slot.candidates == "request" for slot in slots):
            return set()
        present: set[str] = set()
        left: set[str] = set()
        for catalog in self._catalogs:
            now = {action.action_id for action in catalog.actions.get(slot_id, ())}
            left |= present - now
            present = now
        left |= known - present
        return left if len(left) > MOST_RETIRED else set()


class _KnownActions(NamedTuple):
    """The actions of which a learner learns, and since when of each."""

    listed: frozenset[str]
    others: RequestActions

    def learns(self, action_id: str, at: int) -> bool:
        """Tell whether it learns a decision made at this time, in microseconds."""
        return bool(self.others.teach([action_id], np.array([at]), self.listed)[0])


def _known_actions(learners: Mapping[str, LearnerState]) -> dict[str, _KnownActions]:
    """Give what learners know of actions, by slot, of those that have forgotten any."""
    known = {}
    for slot_id, state in learners.items():
        others = RequestActions(state.retired, state.request_actions)
        if others.has_forgotten:
            listed = frozenset(action.action_id for action in state.actions)
            known[slot_id] = _KnownActions(listed, others)
    return known


def _changes(history: CatalogHistory) -> list[int]:
    """Give a time of each catalog that ever held."""
    times = [0]
    while (change := history.next_change(times[-1])) is not None:
        times.append(change)
    return times
