"""What is wrong with an experiment's record: a field and a sentence for its author."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import msgspec

from operators.logic.experiments.arms import variations_of
from operators.logic.experiments.errors import ExperimentError
from operators.logic.experiments.splits import exact_weight, split_of
from operators.logic.experiments.targeting import ORDERED
from operators.logic.free_json import json_flaw
from operators.logic.policies import KINDS
from schemas.bounds import JSON_BYTES, LEAST_REWARD_SPAN, LEAST_WEIGHT_SHARE
from schemas.catalog import Experiment, Variation
from schemas.clock import in_calendar
from schemas.experiments import Condition, Metric

Fault = tuple[str, str]
"""The field that is wrong, and why."""


def flaw_of_experiment(experiment: Experiment) -> Fault | None:
    """Say what is wrong with an experiment; None where nothing is.

    A draft may lack what it needs to run: its variations, its baseline. What it has is checked as
    that of any other.

    >>> from schemas.clock import EPOCH
    >>> spring = Experiment(
    ...     id="1",
    ...     time=EPOCH,
    ...     experiment_id="spring",
    ...     slot_id="home",
    ...     variations=[Variation(id="a")],
    ... )
    >>> flaw_of_experiment(spring)
    ('variations', 'one variation only: there is nothing to compare it with')
    """
    return None if experiment.deleted else next(_faults(experiment), None)


def _faults(experiment: Experiment) -> Iterator[Fault]:
    if isinstance(experiment.variations, dict):
        if experiment.state != "draft":
            yield "variations", "shares are those of an earlier release: list the variations"
        return
    yield from _of_variations(experiment)
    yield from _of_baseline(experiment)
    yield from _of_times(experiment)
    if experiment.layer is not None and experiment.layer.start >= experiment.layer.stop:
        yield "layer.stop", "is not above layer.start: the range has no bucket"
    for name in ("all_of", "any_of"):
        for place, condition in enumerate(getattr(experiment.targeting, name)):
            yield from _of_condition(f"targeting.{name}[{place}]", condition)
    yield from _of_metrics(experiment.metrics)
    yield from _of_outcome(experiment)


def _of_variations(experiment: Experiment) -> Iterator[Fault]:
    variations = variations_of(experiment)
    if not variations:
        if experiment.state != "draft":
            yield "variations", "there are none: an experiment compares two or more"
        return
    if len(variations) == 1:
        yield "variations", "one variation only: there is nothing to compare it with"
    if len({each.id for each in variations}) < len(variations):
        yield "variations", "two have the same id"
    for place, each in enumerate(variations):
        yield from _of_variation(f"variations[{place}]", each)
    yield from _of_weights(variations)
    if experiment.mode == "bandit" and experiment.floor * len(variations) > 1.0:
        most = 1.0 / len(variations)
        yield "floor", f"{len(variations)} variations cannot all have more than {most:g}"


def _of_variation(place: str, variation: Variation) -> Iterator[Fault]:
    actions, policy = variation.actions, variation.policy
    if actions is not None and policy is not None:
        yield place, "is either actions or a policy, not both"
    if actions is not None and not actions:
        yield f"{place}.actions", "names none: leave it out for the slot as it is"
    if actions is not None and len(set(actions)) < len(actions):
        yield f"{place}.actions", "one is named twice"
    if policy is not None:
        if policy.kind not in KINDS:
            yield f"{place}.policy.kind", f"must be one of {', '.join(KINDS)}, got {policy.kind!r}"
        if flaw := json_flaw(policy.params, f"{place}.policy.params"):
            yield flaw


def _of_weights(variations: list[Variation]) -> Iterator[Fault]:
    try:
        split = split_of([each.id for each in variations], [each.weight for each in variations])
    except ExperimentError as error:
        yield "variations", str(error)
        return
    shares = [share for share in split.probabilities() if share]
    if len(shares) == 1:
        yield "variations", "only one has a weight above 0: there is nothing to compare it with"
    for place, (each, share) in enumerate(zip(variations, split.probabilities(), strict=True)):
        if share < LEAST_WEIGHT_SHARE and exact_weight(each.weight) > 0:
            why = f"is less than {LEAST_WEIGHT_SHARE:g} of all weights: make it more, or 0"
            yield f"variations[{place}].weight", why


def _of_baseline(experiment: Experiment) -> Iterator[Fault]:
    variations, name = variations_of(experiment), experiment.baseline
    if name is None:
        if experiment.state != "draft":
            yield "baseline", "is missing: name the variation that others are compared with"
        return
    found = [each for each in variations if each.id == name]
    if not found:
        if variations:
            yield "baseline", f"there is no variation {name!r}"
        return
    if not found[0].enabled:
        yield "baseline", "is not enabled: stop the experiment instead"
    if exact_weight(found[0].weight) == 0:
        yield "baseline", "has the weight 0: nobody would get it to be compared with"


def _of_times(experiment: Experiment) -> Iterator[Fault]:
    starts_at, ends_at = experiment.starts_at, experiment.ends_at
    if experiment.state == "scheduled" and starts_at is None:
        yield "starts_at", "is missing: a scheduled experiment starts by its time"
    if starts_at is not None and ends_at is not None and ends_at <= starts_at:
        yield "ends_at", "is not after starts_at"
    for place, (one, next_) in enumerate(pairwise(experiment.ramp), 1):
        if next_.time <= one.time:
            yield f"ramp[{place}].time", "is not after the step before it"
    for place, step in enumerate(experiment.ramp):
        if not in_calendar(step.time):
            yield f"ramp[{place}].time", "lies before 1970 or after 2199"


def _of_condition(place: str, condition: Condition) -> Iterator[Fault]:
    values, operator = condition.values, condition.operator
    if flaw := json_flaw(values, f"{place}.values"):
        yield flaw
    if operator in ("exists", "missing"):
        if values:
            yield f"{place}.values", f"{operator!r} compares with none"
    elif operator in ORDERED:
        if len(values) != 1 or isinstance(values[0], bool):
            yield f"{place}.values", f"{operator!r} compares with one number or one text"
    elif not values:
        yield f"{place}.values", f"{operator!r} compares with one or more"


def _of_metrics(metrics: list[Metric]) -> Iterator[Fault]:
    if len({each.metric_id for each in metrics}) < len(metrics):
        yield "metrics", "two have the same metric_id"
    for place, each in enumerate(metrics):
        low, high = each.range
        if not low < high:
            yield f"metrics[{place}].range", "must rise: its first value is not below its second"
        elif high - low < LEAST_REWARD_SPAN:
            yield f"metrics[{place}].range", f"must be at least {LEAST_REWARD_SPAN:g} wide"
        elif each.cap is not None and low < 0.0:
            yield f"metrics[{place}].cap", "a total that may fall has no cap: range begins below 0"


def _of_outcome(experiment: Experiment) -> Iterator[Fault]:
    names = {each.id for each in variations_of(experiment)}
    winner, proposal = experiment.winner, experiment.proposal
    if winner is not None:
        if experiment.state != "decided":
            yield "winner", "only what is decided has a winner"
        elif winner not in names:
            yield "winner", f"there is no variation {winner!r}"
    if proposal is not None:
        yield from _of_evidence("proposal.evidence", proposal.evidence)
        if proposal.variation_id is not None and proposal.variation_id not in names:
            yield "proposal.variation_id", f"there is no variation {proposal.variation_id!r}"
        if proposal.step == "pull" and proposal.variation_id is None:
            yield "proposal.variation_id", "is missing: which variation is to be pulled"
        if proposal.step == "ramp" and proposal.share is None:
            yield "proposal.share", "is missing: what the share is to be"
    if experiment.change is not None:
        yield from _of_evidence("change.evidence", experiment.change.evidence)


def _of_evidence(place: str, evidence: dict[str, Any]) -> Iterator[Fault]:
    if flaw := json_flaw(evidence, place):
        yield flaw
        return
    size = len(msgspec.json.encode(evidence))
    if size > JSON_BYTES:
        yield place, f"{size:,} bytes, at most {JSON_BYTES:,} fit"
