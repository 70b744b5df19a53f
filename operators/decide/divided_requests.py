"""Requests of slots with experiments: assigned, and narrowed to what their variations may show."""

from collections.abc import Iterator, Mapping, Sequence

from msgspec import structs

from operators.decide.admission import RequestGroup
from operators.logic.deciding.variations import Divided, Scenario, Serving, divide
from operators.logic.experiments.arms import arms_of, variations_of
from operators.logic.experiments.assigned_column import Requests
from operators.logic.experiments.assignment import Assigner
from operators.logic.experiments.splits import Split
from schemas.bounds import MOST_EXPERIMENTS
from schemas.catalog import Experiment
from schemas.events import Assignment


class SlotExperiments:
    """The experiments of one slot, as they stand in one revision of the catalog.

    Those that compare policies are passed over, and of more than 20 the first by their ids count.
    """

    def __init__(
        self,
        dividing: Sequence[Experiment],
        slot_id: str,
        secret: bytes,
        global_holdout: float = 0.0,
    ) -> None:
        own = [each for each in dividing if each.slot_id == slot_id and _is_of_actions(each)]
        own.sort(key=lambda each: each.experiment_id)
        others = [each for each in dividing if each.slot_id != slot_id]
        self._assigner = Assigner(
            [*own[:MOST_EXPERIMENTS], *others], slot_id, secret, global_holdout
        )
        self._by_id = {
            each.experiment_id: Serving(arms_of(each)) for each in self._assigner.experiments
        }

    def divide(
        self, group: RequestGroup, splits: Mapping[str, Split] | None = None
    ) -> RequestGroup:
        """Give a group with the assignments of its requests, and what these leave eligible.

        ``scenarios`` are what each request could have chosen from; what is ``eligible`` is all
        that is in one of them. ``splits`` are the present ones of bandits, by experiment.
        """
        events = group.events
        assigned = self._assigner.assign(
            Requests(
                subjects=[event.subject for event in events],
                decision_ids=[event.body.decision_id for event in events],
                contexts=[event.body.context for event in events],
                keeps_subject=[event.personal for event in events],
                times=[event.at for event in events],
                robots=[event.body.robot for event in events],
            ),
            splits,
        )
        if not any(each.narrows for each in self._by_id.values()):
            return structs.replace(group, assignments=assigned.assignments)
        serving = self._by_id | {
            name: Serving(arms_of(self._by_id[name].arms.experiment, split))
            for name, split in (splits or {}).items()
            if name in self._by_id
        }
        divided = list(_divided(group, assigned.assignments, serving))
        are_mixed = any(len(each.scenarios) > 1 for _, each in divided)
        return structs.replace(
            group,
            eligible=[eligible for eligible, _ in divided],
            assignments=[each.assignments for _, each in divided],
            scenarios=[each.scenarios for _, each in divided] if are_mixed else [],
        )


def _divided(
    group: RequestGroup,
    assignments: Sequence[list[Assignment]],
    by_experiment: Mapping[str, Serving],
) -> Iterator[tuple[list[str] | None, Divided]]:
    """Divide each request, and say what is eligible in any of its scenarios.

    Those that may be shown all of the slot's actions are divided once for each combination of
    assignments, which are the same objects for all that are alike.
    """
    every = tuple(action.action_id for action in group.actions)
    mixes = group.slot.slate_size == 1
    known: dict[tuple[int, ...], tuple[list[str] | None, Divided]] = {}
    for names, got in zip(group.eligible, assignments, strict=True):
        alike = tuple(map(id, got)) if names is None else None
        found = None if alike is None else known.get(alike)
        if found is None:
            serving = [by_experiment[each.experiment_id] for each in got]
            divided = divide(every if names is None else names, got, serving, mixes=mixes)
            found = _still(names, every, divided.scenarios), divided
            if alike is not None:
                known[alike] = found
        yield found


def in_scenarios(group: RequestGroup) -> Iterator[RequestGroup]:
    """Give a group as each of its scenarios would have it; one with fewer repeats its first."""
    for place in range(max(map(len, group.scenarios))):
        eligible = [list(each[place if place < len(each) else 0].names) for each in group.scenarios]
        yield structs.replace(group, eligible=eligible, scenarios=[])


def weights_of(group: RequestGroup) -> list[list[float]]:
    """Give the probabilities of each request's scenarios, 0 for those that it does not have."""
    most = max(map(len, group.scenarios))
    return [
        [each[place].probability if place < len(each) else 0.0 for place in range(most)]
        for each in group.scenarios
    ]


def _still(
    names: list[str] | None, every: tuple[str, ...], scenarios: Sequence[Scenario]
) -> list[str] | None:
    """Give what is eligible in some scenario; what was eligible before, where that is all of it."""
    some = dict.fromkeys(name for each in scenarios for name in each.names)
    return names if len(some) == len(every if names is None else names) else list(some)


def _is_of_actions(experiment: Experiment) -> bool:
    return all(each.policy is None for each in variations_of(experiment))
