"""The stopwatches know every step of personalize, and charge each moment once."""

import time

import pytest
from prometheus_client import CollectorRegistry

from flows.registry import PERSONALIZE
from flows.runtime.clock import system_clock
from operators.envelope import Batch
from operators.io.metrics.root import Metrics
from ops.benchmarks.speed.inside import components
from ops.benchmarks.speed.inside.components import COMPONENTS, REST, batches_in, component_of
from ops.benchmarks.speed.inside.instruments import leaves
from ops.benchmarks.speed.inside.reading import Reading, Spent
from ops.benchmarks.speed.inside.stopwatches import OUTSIDE, Charge, Cost, Stopwatches, cost
from schemas.settings import load

MS = 1_000_000


def test_every_step_and_every_function_has_a_component() -> None:
    settings = load({}, secret="a secret of benchmarks")
    flow = PERSONALIZE.dataflow(settings, system_clock, Metrics(CollectorRegistry()))
    steps = leaves(flow.substeps)
    assert {component_of(step.step_id) for step in steps} <= set(COMPONENTS)
    assert f"{flow.flow_id}.{components.RECORDS}" in {step.step_id for step in steps}
    assert {component for *_, component in components.functions()} <= set(COMPONENTS)
    assert set(components.WORK) <= set(components.STEPS.values())


def test_a_step_that_nobody_named_is_named_in_the_error() -> None:
    with pytest.raises(LookupError, match=r"personalize\.unheard_of\.map"):
        component_of("personalize.unheard_of.map")


def test_a_function_that_is_no_more_is_named_in_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(components, "FUNCTIONS", {"operators.decode:RecordReader.gone": REST})
    with pytest.raises(LookupError, match=r"RecordReader\.gone"):
        list(components.functions())


def test_what_runs_longest_inside_is_charged() -> None:
    watches = Stopwatches()
    inner = watches.timed("inner", lambda: _busy(0.02))

    def both() -> None:
        _busy(0.01)
        inner()
        same()

    same = watches.timed("outer", lambda: _busy(0.01))
    watches.timed("outer", both)()
    outer = watches.charges["outer"]
    assert watches.charges["inner"].spent == pytest.approx(20 * MS, rel=0.3)
    assert outer.spent == pytest.approx(20 * MS, rel=0.3)
    assert (outer.calls, outer.inner, watches.charges[OUTSIDE].inner) == (1, 1, 1)


def test_a_call_that_raises_is_charged_too() -> None:
    watches = Stopwatches()

    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        watches.timed("fails", fail)()
    watches.timed("after", lambda: None)()
    assert watches.charges["fails"].calls == watches.charges["after"].calls == 1
    assert watches.charges[OUTSIDE].inner == 2


def test_a_stopwatch_costs_little() -> None:
    found = cost()
    assert 0.0 < found.within + found.around < 100_000


def test_components_and_stopwatches_add_up_to_the_process() -> None:
    charge = Charge(spent=5 * MS, calls=100, inner=50)
    before = _reading(0, {})
    after = _reading(20 * MS, {components.LEARN: charge, OUTSIDE: Charge(4 * MS, 0, 100)})
    after.threads = {components.CLIENTS: 2 * MS}
    spent = Spent.between(before, after)
    assert sum(spent.components.values()) + spent.stopwatches == pytest.approx(spent.total)
    assert spent.stopwatches == pytest.approx((100 * 1000 + 150 * 2000) * 1e-9)
    assert spent.components[components.LEARN] == pytest.approx(5e-3 - 2e-4)
    assert spent.outside == pytest.approx(4e-3 - 2e-4)


def test_records_are_counted_in_whatever_the_source_gives() -> None:
    given = [("0", Batch(0, 1, [])), ("1", [Batch(1, 1, [None, None])])]  # type: ignore[list-item]
    assert list(batches_in(given)) == [2]


def _reading(process: int, charges: dict[str, Charge]) -> Reading:
    return Reading(
        at=0.0,
        process=process,
        charges=charges,
        threads={},
        cost=Cost(1000.0, 2000.0),
        turns=0,
        busy_turns=0,
        batches=0,
        records=0,
    )


def _busy(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass
