"""The cost of every field grows linearly: twice the length adds twice as much work.

What is counted are Python's instructions and the comparisons of ids, which C may make (a list is
searched); `make bench NAME=fields` measures the time of all.
"""

import dataclasses
from collections.abc import Iterable

import pytest
from msgspec import msgpack
from msgspec.structs import fields

from operators.decode import reader
from operators.envelope import Event
from ops.benchmarks.fields import CASES, SETTINGS, Records, Steps, example_catalog
from schemas.events import Consent, DecisionRequest
from tests.support.operations import count_operations

LINEAR = 2.5
"""What the second doubling may add, in terms of the first: 2 if linear, 4 if quadratic."""

SLACK = 2000
"""Operations that a length may add once, such as another way to draw from few candidates."""


@dataclasses.dataclass
class Comparisons:
    """Counts how often the ids that it marked are compared, in Python or in C."""

    count: int = 0
    marked: int = 0

    def mark(self, ids: Iterable[str]) -> list[str]:
        """Make ids that count their comparisons."""
        counter = self

        class Id(str):
            def __eq__(self, other: object) -> bool:
                counter.count += 1
                return str.__eq__(self, other)

            __hash__ = str.__hash__

        marked = [Id(each) for each in ids]
        self.marked += len(marked)
        return marked

    def mark_lists(self, events: Iterable[Event]) -> None:
        """Mark the ids in every list of a request."""
        for event in events:
            if isinstance(event.body, DecisionRequest):
                for field in fields(event.body):
                    listed = getattr(event.body, field.name)
                    if isinstance(listed, list):
                        setattr(event.body, field.name, self.mark(listed))


def work(records: Records) -> int:
    """Count what the steps do with records, on fresh state."""
    steps, comparisons = Steps(reader(SETTINGS), example_catalog()), Comparisons()
    events: list[Event] = []
    reading = count_operations(lambda: events.extend(steps.read(records)))
    comparisons.mark_lists(events)
    taking = count_operations(lambda: steps.take(events))
    assert comparisons.count <= 4 * comparisons.marked, "a list is searched"
    return reading + taking + comparisons.count


@pytest.mark.parametrize("name", CASES)
def test_a_field_costs_what_its_length_is(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    takes_marked_ids = msgpack.Encoder(enc_hook=str)
    monkeypatch.setattr("operators.decide.admission._ENCODER", takes_marked_ids)
    most, make = CASES[name]
    length = min(most // 4, 50)
    work(make(1))
    once, twice, four_times = (work(make(length * factor)) for factor in (1, 2, 4))
    assert four_times - twice <= LINEAR * max(twice - once, 0) + SLACK


def test_a_list_that_is_searched_is_noticed() -> None:
    comparisons = Comparisons()
    excluded = comparisons.mark(f"a-{number}" for number in range(100))
    assert not any(f"b-{number}" in excluded for number in range(100))
    assert comparisons.count == 100 * comparisons.marked


def test_every_list_of_a_record_is_measured() -> None:
    for record, said in ((DecisionRequest, "request"), (Consent, "consent")):
        for field in fields(record):
            if "list" in str(field.type) and field.name != "context":
                assert any(name.startswith(f"{said}: {field.name}") for name in CASES), field.name
