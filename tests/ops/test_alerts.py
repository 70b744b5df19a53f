"""The rules of alerts.yml ring when they should, and no more often than the reference says."""

import math
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from operators.io.metrics.root import Metrics
from operators.logic.policies.base import Floats

ROOT = Path(__file__).parents[2]
SERIES = {
    "banditflow_propensity_audit_observed_total",
    "banditflow_propensity_audit_expected_total",
    "banditflow_propensity_audit_variance_total",
}


def rule(alert: str) -> str:
    """Give a rule's expression in Python: a function of series of one slot, or of one process."""
    rules = (ROOT / "ops/docker/alerts.yml").read_text()
    found = re.search(rf"alert: {alert}\n\s+expr: (?:>-\n)?(.*?)\n\s+(?:labels|for):", rules, re.S)
    assert found, alert
    text = " ".join(found[1].split()).replace("sum by (slot) ", "")
    text = re.sub(r"(increase|changes)\((\w+)(?:\{[^}]*\})?\[\w+\]\)", r"\1('\2')", text)
    return re.sub(r"(?<!')\b(banditflow_\w+)(?:\{[^}]*\})?", r"latest('\1')", text)


def rings(alert: str, series: Mapping[str, Sequence[float]]) -> bool:
    """Say whether a rule rings over samples within its window, as Prometheus evaluates it."""

    def increase(name: str) -> float:
        values = series[name]
        steps = pairwise(values)
        return sum(after - before if after >= before else after for before, after in steps)

    def changes(name: str) -> int:
        values = series[name]
        return sum(before != after for before, after in pairwise(values))

    def latest(name: str) -> float:
        return series[name][-1] if series[name] else math.nan

    known = {"increase": increase, "changes": changes, "latest": latest}
    return bool(eval(rule(alert), known | {"abs": abs, "sqrt": math.sqrt}))


def audited(logged: Floats, drawn: Floats, rng: Any, restart: bool = False) -> bool:
    """Say whether the audit rings where actions are drawn by other probabilities than are logged.

    Both are [n, K]. With ``restart`` the process begins anew in the middle.
    """
    samples: dict[str, list[float]] = {name: [0.0] for name in SERIES}
    chosen = (rng.random((len(drawn), 1)) > np.cumsum(drawn, axis=1)).sum(axis=1)
    chosen = np.minimum(chosen, drawn.shape[1] - 1)
    actions = [f"a{column}" for column in range(drawn.shape[1])]
    parts = np.array_split(np.arange(len(drawn)), 8)
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    for number, rows in enumerate(parts):
        if restart and number == 4:
            registry = CollectorRegistry()
            metrics = Metrics(registry)
        metrics.decisions.choices("home", actions, chosen[rows], logged[rows])
        for name, values in samples.items():
            values.append(registry.get_sample_value(name, {"slot": "home"}) or 0.0)
    return rings("BanditflowPropensityAudit", samples)


def learning(n: int, k: int, rng: Any) -> Floats:
    """Probabilities of a policy that grows surer of one action, with a floor of 0.1 %."""
    scores = rng.normal(size=(1, k)) * np.linspace(0.0, 4.0, n)[:, None]
    p = np.exp(scores)
    return np.asarray(0.001 + (1.0 - 0.001 * k) * p / p.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("k", [2, 4, 20])
def test_the_audit_is_quiet_where_actions_are_drawn_as_logged(k: int) -> None:
    """At 1 in 80 million for each, one of these 60 rings with a probability of 1 in a million."""
    rng = np.random.default_rng(11)
    for number in range(20):
        p = learning(12_000, k, rng)
        assert not audited(p, p, rng, restart=number % 2 == 0)


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("fault", ["tilted", "without the hold-out", "another policy's"])
def test_the_audit_rings_where_they_are_not(fault: str, restart: bool) -> None:
    rng = np.random.default_rng(12)
    p = learning(20_000, 10, rng)
    uniform = np.full_like(p, 0.1)
    logged, drawn = {
        "tilted": (0.7 * p + 0.3 * uniform, p),
        "without the hold-out": (p, 0.9 * p + 0.1 * uniform),
        "another policy's": (p, p[:, ::-1]),
    }[fault]
    assert audited(logged, drawn, rng, restart)


def test_the_audit_says_nothing_of_few_decisions() -> None:
    """The ratio of these is far from 1; nothing but chance is needed for that."""
    p = np.tile([0.9, 0.05, 0.05], (60, 1))
    assert not audited(p, np.tile([0.0, 1.0, 0.0], (60, 1)), np.random.default_rng(1))


COUNTED, CREATED = "banditflow_dead_letters_total", "banditflow_dead_letters_created"


@pytest.mark.parametrize(
    ("counted", "created", "rung"),
    [
        ([0, 0, 0], [5, 5, 5], False),
        ([0, 0, 1], [5, 5, 5], True),
        ([0, 0, 1], [5, 5, 9], True),  # the flow starts again, and rejects the record at once
        ([1, 1, 1], [5, 5, 9], True),  # another record, another start
        ([1, 1, 0], [5, 5, 9], False),
        ([1, 1, 1], [5, 5, 5], False),  # the one of an hour ago
    ],
)
def test_the_first_processing_error_rings(
    counted: list[float], created: list[float], rung: bool
) -> None:
    series = {COUNTED: counted, CREATED: created}
    assert rings("BanditflowProcessingError", series) is rung


def test_processing_errors_have_a_series_before_the_first_of_them() -> None:
    """Prometheus sees no increase in a series that begins with 1."""
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    labels = {"reason": "processing_error"}
    assert registry.get_sample_value(COUNTED, labels) == 0.0
    assert registry.get_sample_value(CREATED, labels) is not None
    metrics.records.dead_letters(["processing_error"])
    assert registry.get_sample_value(COUNTED, labels) == 1.0


@pytest.mark.parametrize("what", ["Redis", "Store"])
def test_what_is_down_rings_and_what_was_never_called_does_not(what: str) -> None:
    name = f"banditflow_{what.lower()}_up"
    for value, rung in ((0.0, True), (1.0, False), (math.nan, False)):
        assert rings(f"Banditflow{what}Down", {name: [value]}) is rung
