"""The kinds of decision, numbered, with what vector code needs of each as arrays."""

from collections.abc import Iterable, Mapping
from datetime import timedelta

import numpy as np

from operators.logic.attribution.rules import Kind, Rules, rules_of
from schemas.catalog import Slot
from schemas.events import DecisionBack

IMMEDIATE, WAIT, EXPOSURE = range(3)
_MODES = {"immediate": IMMEDIATE, "wait": WAIT, "exposure": EXPOSURE}
_MICROSECOND = timedelta(microseconds=1)


class Kinds:
    """Numbers each kind; arrays are indexed by that number.

    ``window`` is in microseconds, ``mode`` one of the constants above, ``unanswered`` the reward
    of a decision without one, ``slot`` a number per slot id (``slot_ids`` names it).
    """

    def __init__(self, kinds: Iterable[Kind] = ()) -> None:
        self.all: list[Kind] = []
        self.spans: list[timedelta] = []
        self.waits: list[bool] = []
        self.window = np.empty(0, dtype=np.int64)
        self.mode = np.empty(0, dtype=np.uint8)
        self.unanswered = np.empty(0)
        self.slot = np.empty(0, dtype=np.int64)
        self.slot_ids: list[str] = []
        self._numbers: dict[Kind, int] = {}
        self._recent: dict[tuple[object, ...], int] = {}
        self._rules: dict[str, Rules] = {}
        self._slots: Mapping[str, Slot] | None = None
        for kind in kinds:
            self._number(kind)

    def use(self, slots: Mapping[str, Slot]) -> None:
        """Take the rules of new decisions from these slots."""
        if slots is not self._slots:
            self._slots = slots
            self._rules = {slot_id: rules_of(slot) for slot_id, slot in slots.items()}
            self._recent = {}

    def number(self, body: DecisionBack) -> int | None:
        """Give the number of a decision's kind; None when its slot is not in the catalog."""
        recent = (
            body.slot_id,
            body.action_id,
            body.policy,
            body.experiment_id,
            body.variation_id,
            body.learning_mode,
            body.deferred,
            body.expires_at - body.time,
        )
        found = self._recent.get(recent)
        if found is None:
            rules = self._rules.get(body.slot_id)
            if rules is None:
                return None
            window = recent[-1] // _MICROSECOND
            found = self._recent[recent] = self._number(Kind(*recent[:-1], window, rules))
        return found

    @property
    def exposes(self) -> bool:
        """Whether any decision is weighted by the delay distribution."""
        return bool((self.mode == EXPOSURE).any())

    def _number(self, kind: Kind) -> int:
        number = self._numbers.get(kind)
        if number is None:
            number = self._numbers[kind] = len(self.all)
            self.all.append(kind)
            self.spans.append(kind.window * _MICROSECOND)
            self.waits.append(kind.waits)
            if kind.slot_id not in self.slot_ids:
                self.slot_ids.append(kind.slot_id)
            self.window = np.append(self.window, np.int64(kind.window))
            self.mode = np.append(self.mode, np.uint8(_MODES[kind.learning_mode]))
            self.unanswered = np.append(self.unanswered, kind.rules.unanswered)
            self.slot = np.append(self.slot, np.int64(self.slot_ids.index(kind.slot_id)))
        return number
