"""What an experiment's record says that achieves nothing, or less than its author may think."""

from collections.abc import Iterator

from operators.logic.catalog import Catalog
from operators.logic.experiments.arms import variations_of
from schemas.bounds import MOST_EXPERIMENTS
from schemas.catalog import Experiment


def without_effect(experiment: Experiment, catalog: Catalog) -> Iterator[tuple[str, str]]:
    """Name the fields that achieve nothing, each with the reason; no field: the whole record.

    >>> from operators.logic.catalog import NO_CATALOG
    >>> from schemas.clock import EPOCH
    >>> spring = Experiment(id="1", time=EPOCH, experiment_id="spring", slot_id="home")
    >>> [field for field, _ in without_effect(spring, NO_CATALOG)]
    ['', 'slot_id']
    """
    if experiment.state == "draft":
        yield "", "a draft: it changes nothing until it is started"
    if experiment.slot_id not in catalog.slots:
        yield "slot_id", f"there is no slot {experiment.slot_id!r}"
    else:
        yield from _of_actions(experiment, catalog)
    dividing = catalog.dividing.get(experiment.slot_id, ())
    before = [each for each in dividing if each.experiment_id < experiment.experiment_id]
    if len([each for each in before if each.slot_id == experiment.slot_id]) >= MOST_EXPERIMENTS:
        yield "slot_id", f"the slot has {MOST_EXPERIMENTS} others before it, and no more divide"
    variations = variations_of(experiment)
    if any(each.policy is not None for each in variations):
        why = "no flow of this release decides by a variation's policy: it is passed over"
        yield "variations", why
    if experiment.mode == "bandit":
        what = "all get the baseline" if experiment.unit == "subject" else "the weights divide"
        yield "mode", f"no flow of this release moves a bandit's split: {what}"
    if experiment.mode == "apprentice" and len({each.weight for each in variations}) > 1:
        yield "variations", "weights have no effect in the mode apprentice: all get the baseline"
    yield from _of_metrics(experiment)


def _of_actions(experiment: Experiment, catalog: Catalog) -> Iterator[tuple[str, str]]:
    if catalog.slots[experiment.slot_id].candidates == "request":
        return
    known = {action.action_id for action in catalog.actions.get(experiment.slot_id, ())}
    for place, variation in enumerate(variations_of(experiment)):
        for name in variation.actions or ():
            if name not in known:
                why = f"{name!r} is no enabled action of the slot"
                yield f"variations[{place}].actions", why


def _of_metrics(experiment: Experiment) -> Iterator[tuple[str, str]]:
    if variations_of(experiment) and all(each.role != "primary" for each in experiment.metrics):
        yield "metrics", "none is primary: no winner is found"
    for place, metric in enumerate(experiment.metrics):
        if experiment.unit == "subject" and metric.cap is None:
            why = "without a cap a metric by subject is shown, and never acts"
            yield f"metrics[{place}].cap", why
