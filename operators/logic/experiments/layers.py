"""Layers: experiments that share one hash and never a unit.

A unit has one bucket of 10,000 in a layer. An experiment's range is its own from when it is
scheduled until it ends, is stopped, decided or deleted; from then on it is free for others.
"""

from collections.abc import Iterable, Iterator

from operators.logic.experiments.hashes import WHOLE
from operators.logic.experiments.phases import OCCUPYING, phase_at
from schemas.bounds import LAYER_BUCKETS
from schemas.catalog import Experiment
from schemas.clock import micros
from schemas.experiments import Layer


def bucket_of(hash_: int) -> int:
    """Give the bucket of a unit by its hash: each has the same number of hashes, give or take one.

    >>> bucket_of(0), bucket_of(WHOLE - 1)
    (0, 9999)
    """
    return hash_ * LAYER_BUCKETS // WHOLE


def meet(one: Layer | None, other: Layer | None) -> bool:
    """Tell whether two ranges of one layer have a bucket in common.

    >>> first, second = Layer(layer_id="x", stop=5000), Layer(layer_id="x", start=5000)
    >>> meet(first, second), meet(first, first)
    (False, True)
    """
    if one is None or other is None or one.layer_id != other.layer_id:
        return False
    return max(one.start, other.start) < min(one.stop, other.stop)


def occupants(experiments: Iterable[Experiment], at: int) -> Iterator[Experiment]:
    """Give the experiments that have a range of a layer to themselves at a time."""
    for each in experiments:
        if each.layer is not None and not each.deleted and phase_at(each, at) in OCCUPYING:
            yield each


def flaw_of_range(experiment: Experiment, others: Iterable[Experiment]) -> tuple[str, str] | None:
    """Say what keeps an experiment from the buckets that it asks for, from its record's time on.

    Another experiment has one of them, or divides the layer by another unit: those of one layer
    exclude each other only where they have the same unit.

    Returns
    -------
    The field and why, or None.
    """
    at, layer = micros(experiment.time), experiment.layer
    if layer is None or not list(occupants([experiment], at)):
        return None
    for other in occupants(others, at):
        if other.experiment_id == experiment.experiment_id or other.layer is None:
            continue
        name = f"experiment {other.experiment_id!r}"
        if other.layer.layer_id == layer.layer_id and other.unit != experiment.unit:
            return "layer", f"{name} divides it by {other.unit}: all of a layer have one unit"
        if meet(layer, other.layer):
            return "layer", f"{name} has buckets {other.layer.start} to {other.layer.stop - 1}"
    return None
