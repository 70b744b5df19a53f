"""Decision classes: what many decisions have in common, stored once and numbered."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from operator import attrgetter

import numpy as np
from msgspec import Struct

from operators.logic.attribution.rules import AttributionRules, rules_of
from schemas.catalog import Slot
from schemas.events import DecisionBack, LearningMode

IMMEDIATE, WAIT, EXPOSURE = range(3)
_MODES = {"immediate": IMMEDIATE, "wait": WAIT, "exposure": EXPOSURE}
_MICROSECOND = timedelta(microseconds=1)
_CLASS_FIELDS = attrgetter(
    "slot_id",
    "action_id",
    "policy",
    "experiment_id",
    "variation_id",
    "learning_mode",
    "deferred",
    "mapping",
)


class DecisionClass(Struct, frozen=True, array_like=True, kw_only=True):
    """What many decisions have in common: slot, action, policy, experiment and the slot's rules.

    ``window`` is the reward window in microseconds, ``fingerprint`` names the logged features
    (empty: not logged).
    """

    slot_id: str
    action_id: str
    policy: str
    experiment_id: str | None
    variation_id: str | None
    learning_mode: LearningMode
    deferred: bool
    window: int
    rules: AttributionRules
    fingerprint: str = ""

    @property
    def needs_impression(self) -> bool:
        """Whether the decision counts only once its impression has come."""
        return self.deferred or self.rules.needs_impression


class DecisionClasses:
    """Numbers the decision classes; arrays and lists are indexed by that number.

    ``window`` (as an array, ``windows`` as a list) is in microseconds, ``mode`` one of the
    constants above, ``default_reward`` that of a decision without one, ``slot`` a number for
    each slot id (``slot_ids`` names it), ``feature_group`` one for each slot and feature
    fingerprint: the decisions whose features can be learned together.
    ``name_subjects`` are the slots whose settled decisions name their subjects, for the factors;
    ``any_exposure`` says whether the delay distribution weighs any decision.
    """

    def __init__(self, classes: Iterable[DecisionClass] = ()) -> None:
        self.all: list[DecisionClass] = []
        self.action_ids: list[str] = []
        self.windows: list[int] = []
        self.needs_impression: list[bool] = []
        self.any_exposure = False
        self.window = np.empty(0, dtype=np.int64)
        self.mode = np.empty(0, dtype=np.uint8)
        self.default_reward = np.empty(0)
        self.slot = np.empty(0, dtype=np.int64)
        self.feature_group = np.empty(0, dtype=np.int64)
        self.slot_ids: list[str] = []
        self.name_subjects: set[str] = set()
        self._feature_groups: dict[tuple[str, str], int] = {}
        self._numbers: dict[DecisionClass, int] = {}
        self._recent: dict[tuple[object, ...], int] = {}
        self._rules: dict[str, AttributionRules] = {}
        self._slots: Mapping[str, Slot] | None = None
        for each in classes:
            self._number(each)

    def use(self, slots: Mapping[str, Slot]) -> None:
        """Take the rules of new decisions from these slots."""
        if slots is not self._slots:
            self._slots = slots
            self.name_subjects = {
                slot_id for slot_id, slot in slots.items() if slot.features.profile_embedding
            }
            self._rules = {slot_id: rules_of(slot) for slot_id, slot in slots.items()}
            self._recent = {}

    def number(self, body: DecisionBack) -> int | None:
        """Give the number of a decision's class; None when its slot is not in the catalog."""
        span = body.expires_at - body.time
        recent = (_CLASS_FIELDS(body), span)
        number = self._recent.get(recent)
        if number is None:
            rules = self._rules.get(body.slot_id)
            if rules is None:
                return None
            number = self._recent[recent] = self._number(
                DecisionClass(
                    slot_id=body.slot_id,
                    action_id=body.action_id,
                    policy=body.policy,
                    experiment_id=body.experiment_id,
                    variation_id=body.variation_id,
                    learning_mode=body.learning_mode,
                    deferred=body.deferred,
                    window=span // _MICROSECOND,
                    rules=rules,
                    fingerprint=body.mapping,
                )
            )
        return number

    def _number(self, new: DecisionClass) -> int:
        number = self._numbers.get(new)
        if number is None:
            number = self._numbers[new] = len(self.all)
            self.all.append(new)
            self.action_ids.append(new.action_id)
            self.windows.append(new.window)
            self.needs_impression.append(new.needs_impression)
            self.any_exposure |= new.learning_mode == "exposure"
            if new.slot_id not in self.slot_ids:
                self.slot_ids.append(new.slot_id)
            self.window = np.append(self.window, np.int64(new.window))
            self.mode = np.append(self.mode, np.uint8(_MODES[new.learning_mode]))
            self.default_reward = np.append(self.default_reward, new.rules.default_reward)
            groups = self._feature_groups
            group = groups.setdefault((new.slot_id, new.fingerprint), len(groups))
            self.feature_group = np.append(self.feature_group, np.int64(group))
            self.slot = np.append(self.slot, np.int64(self.slot_ids.index(new.slot_id)))
        return number
