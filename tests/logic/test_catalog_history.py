"""What a catalog costs, and that the order of its records does not matter."""

import random
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.logic.catalog import Catalog, CatalogHistory
from schemas.catalog import CatalogEntry
from schemas.clock import micros
from tests.support import records as make
from tests.support.operations import count_operations


def loaded(entries: list[CatalogEntry]) -> CatalogHistory:
    history = CatalogHistory()
    for entry in entries:
        history.add(entry)
    return history


def versions(actions: int, seed: int) -> list[CatalogEntry]:
    """Ten slots, and three versions of each action, every one at a time of its own."""
    names = [f"slot{number}" for number in range(10)]
    entries: list[CatalogEntry] = [make.slot(name) for name in names]
    entries += [
        make.action(f"a{number}", 3 * number + version, slots=names)
        for number in range(actions)
        for version in range(3)
    ]
    random.Random(seed).shuffle(entries)
    return entries


@pytest.mark.parametrize("seed", range(3))
def test_loading_costs_as_much_as_there_are_records(seed: int) -> None:
    costs = []
    for actions in (50, 400):
        entries = versions(actions, seed)
        costs.append(count_operations(lambda entries=entries: loaded(entries).as_of(2**62)))  # type: ignore[misc]
    assert costs[1] < 1.3 * 8 * costs[0]


def content(catalog: Catalog) -> object:
    return catalog.slots, catalog.actions, catalog.experiments


KINDS = st.tuples(
    st.sampled_from(["slot", "action", "experiment"]),
    st.sampled_from(["home", "side"]),
    st.integers(0, 6),
    st.booleans(),
    st.booleans(),
)


@given(st.lists(KINDS, max_size=25, unique_by=lambda each: each[:3]), st.randoms())
def test_the_catalog_of_a_time_depends_on_no_order_and_survives_a_snapshot(
    kinds: list[tuple[str, str, int, bool, bool]], shuffler: random.Random
) -> None:
    made = {"slot": make.slot, "action": make.action, "experiment": make.experiment}
    entries: list[CatalogEntry] = []
    for kind, name, seconds, deleted, enabled in kinds:
        changes = {"deleted": deleted}
        if kind == "action":
            changes["enabled"] = enabled
        entries.append(made[kind](name, seconds, **changes))  # type: ignore[operator]
    history = loaded(entries)
    restored = CatalogHistory(history.state())
    shuffler.shuffle(entries)
    shuffled = loaded(entries)
    for seconds in range(-1, 8):
        at = micros(make.START + timedelta(seconds=seconds))
        assert content(history.as_of(at)) == content(shuffled.as_of(at))
        assert content(history.as_of(at)) == content(restored.as_of(at))
        assert history.next_change(at) == shuffled.next_change(at)
