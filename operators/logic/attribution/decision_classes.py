"""Decision classes: what many decisions have in common, stored once and numbered."""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import timedelta
from operator import attrgetter
from typing import Any, Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from operators.logic.attribution.rules import AttributionRules, SubjectRules, rules_of
from schemas.catalog import Slot
from schemas.events import DecisionBack, LearningMode

IMMEDIATE, WAIT, EXPOSURE = range(3)
_MODES = {"immediate": IMMEDIATE, "wait": WAIT, "exposure": EXPOSURE}
_MICROSECOND = timedelta(microseconds=1)
_FEW: Final = 64
"""So many classes without a row are not worth a sweep."""
_LEAST: Final = 16
_ARRAYS: Final = (
    "window",
    "mode",
    "default_reward",
    "slot",
    "feature_group",
    "subject_group",
    "subject_window",
    "robot_group",
    "robot_window",
    "_rows",
)
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
    (empty: not logged), ``positions`` is how many actions the decision shows, of which
    ``action_id`` is one.
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
    positions: int = 1

    @property
    def needs_impression(self) -> bool:
        """Whether the decision counts only once its impression has come."""
        return self.deferred or self.rules.needs_impression


class DecisionClasses:
    """Numbers the decision classes that rows name; arrays and lists are indexed by that number.

    ``window`` (as an array, ``windows`` as a list) is in microseconds, ``mode`` one of the
    constants above, ``default_reward`` that of a decision without one, ``slot`` a number for
    each slot id (``slot_ids`` names it), ``feature_group`` one for each slot and feature
    fingerprint: the decisions whose features can be learned together. ``subject_group`` is a number
    for each slot and rules that bound what one subject teaches (0: none do), in windows of
    ``subject_window`` microseconds; ``robot_group`` and ``robot_window`` are the same for the rules
    that count robots apart.
    ``name_subjects`` are the slots whose settled decisions name their subjects, for the factors;
    ``any_exposure`` says whether the delay distribution may weigh any decision.

    Rows are counted by class (:meth:`hold`, :meth:`release`). Classes without a row are forgotten
    when they are more than those with one (:meth:`sweep`), and their numbers are given anew:
    columns of rows that hold a decision no more may name a number that means something else by now.

    Parameters
    ----------
    classes
        Classes by number, as :meth:`in_use` gave them; their rows are to be counted again.
    """

    def __init__(self, classes: Mapping[int, DecisionClass] | None = None) -> None:
        self.all: dict[int, DecisionClass] = dict(classes or {})
        self.action_ids: list[str] = []
        self.windows: list[int] = []
        self.needs_impression: list[bool] = []
        self.window = np.zeros(0, dtype=np.int64)
        self.mode = np.zeros(0, dtype=np.uint8)
        self.default_reward = np.zeros(0)
        self.slot = np.zeros(0, dtype=np.int64)
        self.feature_group = np.zeros(0, dtype=np.int64)
        self.subject_group = np.zeros(0, dtype=np.int64)
        self.subject_window = np.zeros(0, dtype=np.int64)
        self.robot_group = np.zeros(0, dtype=np.int64)
        self.robot_window = np.zeros(0, dtype=np.int64)
        self.name_subjects: set[str] = set()
        self.any_exposure = False
        self.sweeps = 0
        """How often numbers may have changed their meaning."""
        self._rows = np.zeros(0, dtype=np.int64)
        self._recent: dict[tuple[object, ...], int] = {}
        self._rules: dict[str, AttributionRules] = {}
        self._slots: Mapping[str, Slot] | None = None
        self._slot_window = 0
        self._index()

    def __len__(self) -> int:
        """Count the classes that have a number, those without a row included."""
        return len(self.all)

    def use(self, slots: Mapping[str, Slot]) -> None:
        """Take the rules of new decisions from these slots."""
        if slots is not self._slots:
            self._slots = slots
            self.name_subjects = {
                slot_id for slot_id, slot in slots.items() if slot.features.profile_embedding
            }
            windows = (round(slot.reward_window * 1e6) for slot in slots.values())
            self._slot_window = max(windows, default=0)
            self._rules = {slot_id: rules_of(slot) for slot_id, slot in slots.items()}
            self._recent = {}

    @property
    def longest_window(self) -> int:
        """The longest reward window of a slot, or of a decision that has come, in microseconds."""
        return max(self._slot_window, int(self.window.max(initial=0)))

    def number(self, body: DecisionBack) -> int | None:
        """Find the number of a decision's class; None when its slot is not in the catalog.

        It is good until the next :meth:`sweep`, and for as long as a row is held under it.
        """
        span = body.expires_at - body.time
        positions = len(body.slate) if body.slate else 1
        recent = (_CLASS_FIELDS(body), span, positions)
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
                    positions=positions,
                )
            )
        return number

    def hold(self, numbers: Iterable[int]) -> None:
        """Count rows that name these classes from now on."""
        for number, count in Counter(numbers).items():
            self._rows[number] += count

    def release(self, numbers: Iterable[int]) -> None:
        """Count rows that name these classes no more."""
        for number, count in Counter(numbers).items():
            self._rows[number] -= count

    def exposed(self) -> NDArray[np.bool_]:
        """Say of each number whether the delay distribution weighs rows that name it."""
        weighed: NDArray[np.bool_] = (self.mode == EXPOSURE) & (self._rows > 0)
        return weighed

    def in_use(self) -> dict[int, DecisionClass]:
        """Collect the classes that rows name, by number."""
        return {number: each for number, each in self.all.items() if self._rows[number]}

    def sweep(self) -> bool:
        """Forget the classes that no row names, when there are many; tell whether it did."""
        if len(self.all) < self._sweep_at:
            return False
        self.all, self._recent = self.in_use(), {}
        self.sweeps += 1
        self._index()
        return True

    def _index(self) -> None:
        """Make all that is looked up by number, slot or content anew."""
        self._sweep_at = 2 * len(self.all) + _FEW
        self._numbers = {each: number for number, each in self.all.items()}
        self._slot_numbers: dict[str, int] = {}
        self._feature_groups: dict[tuple[str, str], int] = {}
        self._subject_groups: dict[tuple[str, SubjectRules], int] = {}
        self.any_exposure = False
        size = max(self.all, default=-1) + 1
        self._free = [number for number in range(size - 1, -1, -1) if number not in self.all]
        self._resize(size)
        for number, each in self.all.items():
            self._fill(number, each)

    def _number(self, new: DecisionClass) -> int:
        number = self._numbers.get(new)
        if number is None:
            if not self._free:
                size = len(self.windows)
                self._resize(max(_LEAST, 2 * size))
                self._free = list(range(len(self.windows) - 1, size - 1, -1))
            number = self._numbers[new] = self._free.pop()
            self.all[number] = new
            self._fill(number, new)
        return number

    def _fill(self, number: int, new: DecisionClass) -> None:
        self.action_ids[number] = new.action_id
        self.windows[number] = self.window[number] = new.window
        self.needs_impression[number] = new.needs_impression
        self.mode[number] = _MODES[new.learning_mode]
        self.any_exposure |= new.learning_mode == "exposure"
        self.default_reward[number] = new.rules.default_reward
        slots, groups = self._slot_numbers, self._feature_groups
        self.slot[number] = slots.setdefault(new.slot_id, len(slots))
        self.feature_group[number] = groups.setdefault((new.slot_id, new.fingerprint), len(groups))
        subject, robots = new.rules.subject, new.rules.robots
        self.subject_group[number] = self._subject_group(new.slot_id, subject)
        self.subject_window[number] = 1 if subject is None else subject.window
        self.robot_group[number] = self._subject_group(new.slot_id, robots)
        self.robot_window[number] = 1 if robots is None else robots.window

    def _subject_group(self, slot_id: str, rules: SubjectRules | None) -> int:
        known = self._subject_groups
        return 0 if rules is None else known.setdefault((slot_id, rules), len(known) + 1)

    def _resize(self, size: int) -> None:
        for name in _ARRAYS:
            setattr(self, name, _resized(getattr(self, name), size))
        more = size - len(self.windows)
        self.action_ids[size:] = [""] * more
        self.windows[size:] = [0] * more
        self.needs_impression[size:] = [False] * more

    def knows_slot(self, slot_id: str) -> bool:
        """Say whether a slot is in the catalog, or some class is of it."""
        return slot_id in self._rules or slot_id in self._slot_numbers

    @property
    def slot_ids(self) -> list[str]:
        """The slot ids by their number."""
        return list(self._slot_numbers)


def _resized(array: NDArray[Any], size: int) -> NDArray[Any]:
    resized = np.zeros(size, dtype=array.dtype)
    resized[: len(array)] = array[:size]
    return resized
