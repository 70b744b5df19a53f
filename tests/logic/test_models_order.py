"""The canonical order against a sort of everything, whatever the shards' interleaving."""

from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from operators.logic.models import CanonicalOrder, ClickModel, FactorModel
from operators.logic.settlements import in_order
from schemas.clock import micros
from tests.support.settled import settled, settled_us, settlements, world

SHARDS = 3
DONE = 2**62


def canonical(outcomes):
    return sorted(outcomes, key=lambda outcome: (outcome.settled_at, outcome.key))


@st.composite
def reports(draw):
    """Each shard's outcomes in settlement order, cut into reports, and the shards interleaved."""
    queues = []
    for shard in range(SHARDS):
        times = sorted(draw(st.lists(st.integers(0, 20), max_size=12)))
        outcomes = [
            settled(
                100 * shard + place,
                f"a{place % 2}",
                float(place % 3 == 0),
                settled_at=settled(0, "", 0.0).time + timedelta(seconds=at),
            )
            for place, at in enumerate(times)
        ]
        queue, held = [], []
        for place, outcome in enumerate(outcomes):
            held.append(outcome)
            last = place + 1 == len(outcomes)
            if last or (
                outcomes[place + 1].settled_at > outcome.settled_at and draw(st.booleans())
            ):
                queue.append((shard, micros(outcome.settled_at), held))
                held = []
        queues.append([*queue, (shard, DONE, [])])
    order = draw(st.permutations([shard for shard in range(SHARDS) for _ in queues[shard]]))
    return [queues[shard].pop(0) for shard in order]


def release(reported, restart=False):
    order, out = CanonicalOrder(SHARDS), []
    for shard, watermark, outcomes in reported:
        ready = in_order(order.add(shard, watermark, blocks(outcomes)))
        if ready is not None:
            assert (ready.end <= order.watermark).all()
            out.append(ready)
        if restart:
            order = CanonicalOrder.load(order.dump())
    assert (len(order), order.late) == (0, 0)
    return out


def blocks(outcomes):
    return [settlements(outcomes)] if outcomes else []


def named(ready):
    return [
        (end, key, name)
        for block in ready
        for end, key, name in zip(
            block.end.tolist(), block.key.tolist(), block.actions, strict=True
        )
    ]


@settings(max_examples=200, deadline=None)
@given(reports(), st.booleans())
def test_everything_comes_out_once_and_in_order(reported, restart):
    everything = [outcome for _, _, outcomes in reported for outcome in outcomes]
    expected = [
        (settled_us(outcome), int(outcome.key, 16), outcome.action_id)
        for outcome in canonical(everything)
    ]
    assert named(release(reported, restart)) == expected


def test_nothing_leaves_before_every_shard_has_passed_it():
    order = CanonicalOrder(2)
    outcome = settled(0, "a0", 0.0)
    at = micros(outcome.settled_at)
    assert order.add(0, at + 5, blocks([outcome])) == []
    assert order.add(1, at - 1, []) == []
    assert len(order) == 1
    assert named(order.add(1, at, [])) == named(blocks([outcome]))


def test_a_broken_promise_loses_nothing_and_is_counted():
    order = CanonicalOrder(1)
    outcome = settled(0, "a0", 0.0)
    at = micros(outcome.settled_at)
    assert order.add(0, at, []) == []
    assert named(order.add(0, at + 1, blocks([outcome]))) == named(blocks([outcome]))
    assert CanonicalOrder.load(order.dump()).late == order.late == 1


def test_models_agree_over_shards_reporting_in_any_order():
    """The same outcomes over three shards, in lockstep or one shard after another."""
    outcomes = world(900).outcomes
    shards = [outcomes[shard::SHARDS] for shard in range(SHARDS)]
    steps = [
        (shard, micros(part[i : i + 30][-1].settled_at), part[i : i + 30])
        for i in range(0, 300, 30)
        for shard, part in enumerate(shards)
    ]
    ends = [(shard, DONE, []) for shard in range(SHARDS)]
    dumps = []
    for reported in (steps, sorted(steps, key=lambda step: step[0])):
        click, factors = ClickModel(4), FactorModel()
        ready = release([*reported, *ends])
        for block in ready:
            click.learn(block)
            factors.learn(block)
        dumps.append((click.dump(), factors.dump()))
    assert dumps[0] == dumps[1]


@given(reports(), st.integers(0, 20), st.integers(0, 30))
def test_a_lowered_order_releases_each_settlement_once(reported, to, when):
    order, released = CanonicalOrder(SHARDS), []
    lowered = micros(settled(0, "", 0.0).time) + to * 1_000_000
    for number, (shard, watermark, outcomes) in enumerate(reported):
        released += order.add(shard, watermark, blocks(outcomes))
        if number == when:
            order.lower(lowered)
            assert order.watermark <= lowered
            assert order.released <= lowered
            order = CanonicalOrder.load(order.dump())
    for shard in range(SHARDS):
        released += order.add(shard, DONE, [])
    keys = [key for block in released for key in block.key.tolist()]
    assert sorted(keys) == sorted(int(o.key, 16) for _, _, outcomes in reported for o in outcomes)
    assert not len(order)
