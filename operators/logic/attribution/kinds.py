"""The kinds of decision, numbered, with what vector code needs of each as arrays."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from operator import attrgetter

import numpy as np

from operators.logic.attribution import reports
from operators.logic.attribution.rules import Kind, Rules, rules_of
from schemas.catalog import Slot
from schemas.events import DecisionBack

IMMEDIATE, WAIT, EXPOSURE = range(3)
_MODES = {"immediate": IMMEDIATE, "wait": WAIT, "exposure": EXPOSURE}
_MICROSECOND = timedelta(microseconds=1)
_NAMES = attrgetter(
    "slot_id",
    "action_id",
    "policy",
    "experiment_id",
    "variation_id",
    "learning_mode",
    "deferred",
    "mapping",
)


class Kinds:
    """Numbers each kind; arrays and lists are indexed by that number.

    ``window`` is in microseconds, ``mode`` one of the constants above, ``unanswered`` the reward
    of a decision without one, ``slot`` a number per slot id (``slot_ids`` names it), ``course`` one
    per slot and feature mapping, ``constants`` what all settled outcomes of the kind say.
    ``named`` are the slots whose settled decisions name their subjects, for the factors;
    ``exposes`` says whether the delay distribution weighs any decision.
    """

    def __init__(self, kinds: Iterable[Kind] = ()) -> None:
        self.all: list[Kind] = []
        self.windows: list[int] = []
        self.waits: list[bool] = []
        self.constants: list[bytes] = []
        self.exposes = False
        self.window = np.empty(0, dtype=np.int64)
        self.mode = np.empty(0, dtype=np.uint8)
        self.unanswered = np.empty(0)
        self.slot = np.empty(0, dtype=np.int64)
        self.course = np.empty(0, dtype=np.int64)
        self.slot_ids: list[str] = []
        self._courses: dict[tuple[str, str], int] = {}
        self._numbers: dict[Kind, int] = {}
        self._recent: dict[tuple[object, ...], int] = {}
        self._rules: dict[str, Rules] = {}
        self.named: set[str] = set()
        self._slots: Mapping[str, Slot] | None = None
        for kind in kinds:
            self._number(kind)

    def use(self, slots: Mapping[str, Slot]) -> None:
        """Take the rules of new decisions from these slots."""
        if slots is not self._slots:
            self._slots = slots
            self.named = {
                slot_id for slot_id, slot in slots.items() if slot.features.profile_embedding
            }
            self._rules = {slot_id: rules_of(slot) for slot_id, slot in slots.items()}
            self._recent = {}

    def number(self, body: DecisionBack) -> int | None:
        """Give the number of a decision's kind; None when its slot is not in the catalog."""
        span = body.expires_at - body.time
        recent = (_NAMES(body), span)
        found = self._recent.get(recent)
        if found is None:
            rules = self._rules.get(body.slot_id)
            if rules is None:
                return None
            kind = Kind(
                body.slot_id,
                body.action_id,
                body.policy,
                body.experiment_id,
                body.variation_id,
                body.learning_mode,
                body.deferred,
                span // _MICROSECOND,
                rules,
                body.mapping,
            )
            found = self._recent[recent] = self._number(kind)
        return found

    def _number(self, kind: Kind) -> int:
        number = self._numbers.get(kind)
        if number is None:
            number = self._numbers[kind] = len(self.all)
            self.all.append(kind)
            self.windows.append(kind.window)
            self.waits.append(kind.waits)
            self.constants.append(reports.constants(kind))
            self.exposes |= kind.learning_mode == "exposure"
            if kind.slot_id not in self.slot_ids:
                self.slot_ids.append(kind.slot_id)
            self.window = np.append(self.window, np.int64(kind.window))
            self.mode = np.append(self.mode, np.uint8(_MODES[kind.learning_mode]))
            self.unanswered = np.append(self.unanswered, kind.rules.unanswered)
            course = self._courses.setdefault((kind.slot_id, kind.mapping), len(self._courses))
            self.course = np.append(self.course, np.int64(course))
            self.slot = np.append(self.slot, np.int64(self.slot_ids.index(kind.slot_id)))
        return number
