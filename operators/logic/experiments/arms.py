"""The arms of an experiment: its variations as assignments, made once for many requests."""

from bisect import bisect_right

from msgspec import Struct

from operators.logic.experiments import reasons
from operators.logic.experiments.errors import ExperimentError
from operators.logic.experiments.splits import Split, split_of
from schemas.catalog import Experiment, Variation
from schemas.events import Assignment


class Arms(Struct, frozen=True, eq=False):
    """The assignments that an experiment can give.

    ``drawable`` are those of its variations in the order of ``split``; of one that is pulled it is
    the baseline's, and in the mode apprentice all are.
    """

    experiment: Experiment
    baseline: str
    split: Split
    drawable: tuple[Assignment, ...]
    pulled: frozenset[str]
    known: dict[str, Assignment]
    """Those that do not count, by their reasons, as far as they were asked for."""

    def drawn(self, hash_: int) -> Assignment:
        """Give the assignment of a hash."""
        return self.drawable[bisect_right(self.split.ends, hash_)]

    def again(self, variation_id: str, probability: float) -> Assignment:
        """Give a subject what it got before; the baseline where that is pulled or gone."""
        if variation_id in self.pulled or variation_id not in self.split.ids:
            return self.left_out(reasons.PULLED)
        return self._of(variation_id, probability)

    def forced(self, variation_id: str) -> Assignment:
        """Give what was asked for; the baseline where that is pulled or unknown."""
        if variation_id in self.pulled or variation_id not in self.split.ids:
            variation_id = self.baseline
        return self._of(variation_id, 1.0, reasons.FORCED)

    def left_out(self, reason: str) -> Assignment:
        """Give what a request gets that does not count: of what is decided the winner."""
        known = self.known.get(reason)
        if known is None:
            winner = self.experiment.winner if reason == reasons.DECIDED else None
            known = self.known[reason] = self._of(winner or self.baseline, 1.0, reason)
        return known

    def _of(self, variation_id: str, probability: float, not_counted: str = "") -> Assignment:
        return Assignment(
            experiment_id=self.experiment.experiment_id,
            variation_id=variation_id,
            probability=probability,
            unit=self.experiment.unit,
            not_counted=not_counted,
        )


def arms_of(experiment: Experiment, split: Split | None = None) -> Arms:
    """Make the arms of an experiment without faults; by default its weights divide.

    Raises :class:`ExperimentError` where the split is of other variations.
    """
    variations = variations_of(experiment)
    if split is None:
        split = weighted_split(experiment)
    if split.ids != tuple(each.id for each in variations):
        name = experiment.experiment_id
        raise ExperimentError(f"a split of {split.ids} was given to experiment {name!r}")
    pulled = frozenset(each.id for each in variations if not each.enabled)
    probabilities = split.probabilities(without=pulled)
    baseline, is_apprentice = experiment.baseline or "", experiment.mode == "apprentice"
    drawable = tuple(
        Assignment(
            experiment_id=experiment.experiment_id,
            variation_id=baseline if name in pulled or is_apprentice else name,
            probability=1.0 if name in pulled or is_apprentice else probability,
            unit=experiment.unit,
            not_counted=reasons.PULLED if name in pulled and not is_apprentice else "",
        )
        for name, probability in zip(split.ids, probabilities, strict=True)
    )
    return Arms(experiment, baseline, split, drawable, pulled, {})


def variations_of(experiment: Experiment) -> list[Variation]:
    """Give the variations; none of a draft of an earlier release, which only has their shares."""
    given = experiment.variations
    return given if isinstance(given, list) else []


def weighted_split(experiment: Experiment) -> Split:
    """Give the split by the variations' weights: that of a fixed split, and a bandit's first."""
    variations = variations_of(experiment)
    return split_of([each.id for each in variations], [each.weight for each in variations])


def can_divide(experiment: Experiment) -> bool:
    """Tell whether a record is complete enough to assign by: there are variations, and a baseline.

    >>> from schemas.clock import EPOCH
    >>> can_divide(Experiment(id="1", time=EPOCH, experiment_id="spring", slot_id="home"))
    False
    """
    return (
        not experiment.deleted
        and experiment.baseline is not None
        and bool(variations_of(experiment))
    )
