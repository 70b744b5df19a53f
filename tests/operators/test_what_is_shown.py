"""No path shows an action that the catalog of the request's time keeps from its slot."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from random import Random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.catalog import CatalogEntry, PolicySettings
from schemas.clock import micros
from tests.support import records as make
from tests.support.catalog_edits import (
    ACTION,
    ACTIONS,
    APART,
    NAMES,
    SLOT,
    SLOTS,
    Choices,
    edit,
    one_of,
    request,
    some_requests,
)
from tests.support.showing import SHARDS, Deciding, learned

SECONDS = st.integers(0, 20)
"""Times of records: few, so that many are of one time."""

Step = Callable[[Deciding, int], None]
"""Does one thing, as the one of this number."""


def one_of_each(choices: Choices) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({name: st.sampled_from(some) for name, some in choices.items()})


def edits(
    kind: Callable[..., CatalogEntry], names: Sequence[str], choices: Choices
) -> st.SearchStrategy[Step]:
    """A catalog record, of which some shards hear now and the others never."""

    def step(name: str, at: int, fields: dict[str, Any], hearing: tuple[int, ...]) -> Step:
        def hear(deciding: Deciding, number: int) -> None:
            for shard in hearing:
                deciding.shards[shard].hear(kind(name, at, id=f"{number:04d}", **fields))

        return hear

    hearing = st.sampled_from([(0,), (1,), (0, 1)])
    return st.builds(step, st.sampled_from(names), SECONDS, one_of_each(choices), hearing)


def requests() -> st.SearchStrategy[Step]:
    """A batch of requests on one shard."""

    def step(shard: int, asked: list[tuple[int, dict[str, Any]]]) -> Step:
        def ask(deciding: Deciding, number: int) -> None:
            deciding.shards[shard].ask(
                request(f"r{number}-{place}", at, shard, **fields)
                for place, (at, fields) in enumerate(asked)
            )

        return ask

    names = st.lists(st.sampled_from(NAMES), max_size=4)
    slots = st.sampled_from([*SLOTS, "nowhere"])
    fields = st.fixed_dictionaries(
        {"slot_id": slots, "actions": st.none() | names, "excluded": names}
    )
    asked = st.lists(st.tuples(SECONDS, fields), min_size=1, max_size=4)
    return st.builds(step, st.integers(0, SHARDS - 1), asked)


def policies() -> st.SearchStrategy[Step]:
    """A policy that was learned under settings and actions that may be others than today's."""

    def step(slot_id: str, fields: dict[str, Any], names: list[str], best: str) -> Step:
        def publish(deciding: Deciding, number: int) -> None:
            slot = make.slot(slot_id, **fields)
            deciding.publish(learned(slot, names, best, number))

        return publish

    names = st.lists(st.sampled_from(NAMES), min_size=1, unique=True)
    return st.builds(step, st.sampled_from(SLOTS), one_of_each(SLOT), names, st.sampled_from(NAMES))


STEPS = st.one_of(
    edits(make.slot, SLOTS, SLOT),
    edits(make.action, ACTIONS, ACTION),
    requests(),
    requests(),
    policies(),
    st.just(lambda deciding, _: deciding.decide()),
    st.just(lambda deciding, _: deciding.restart()),
    st.just(lambda deciding, _: deciding.start_from_store()),
    st.just(lambda deciding, _: deciding.hear(complete=True)),
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.booleans(), st.lists(STEPS, min_size=5, max_size=40))
def test_nothing_is_shown_that_the_catalog_of_a_requests_time_keeps_from_its_slot(
    begun: bool, steps: list[Step]
) -> None:
    deciding = Deciding()
    if begun:
        slots = [make.slot("home"), make.slot("side", candidates="request")]
        both = [make.action(name, slots=[*SLOTS]) for name in ACTIONS]
        deciding.hear(*slots, *both, complete=True)
    for number, step in enumerate(steps):
        step(deciding, number)
    deciding.finish()


EDITS = 10_000


def test_ten_thousand_edits_with_requests_between_show_nothing_that_they_keep_back() -> None:
    rng, deciding = Random(7), Deciding()
    deciding.hear(*[make.slot(name, policy=PolicySettings()) for name in SLOTS], complete=True)
    for number in range(EDITS):
        deciding.hear(edit(rng, number))
        watermark = micros(make.START + timedelta(seconds=APART * number - 100))
        if number % 4 == 0:
            shard = rng.randrange(SHARDS)
            deciding.shards[shard].ask(some_requests(rng, number, shard), watermark)
            deciding.decide()
        if number % 500 == 0:
            deciding.restart()
        elif number % 500 == 250:
            deciding.start_from_store()
        if number % 250 == 20:
            deciding.hear(complete=True)
        if number % 50 == 0:
            slot = make.slot(rng.choice(SLOTS), **one_of(SLOT, rng))
            deciding.publish(learned(slot, rng.sample(NAMES, 4), rng.choice(NAMES), number))
    deciding.finish()
    refused = sum(len(shard.refused) for shard in deciding.shards)
    assert len(deciding.shown) > 1_500
    assert refused > 1_500
