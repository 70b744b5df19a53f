"""Metrics: served where told, bounded in labels, right in value, and as documented."""

import re
import socket
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from flows.runtime.flow_metrics import read_metrics
from operators.io.metrics.exporter import serve
from operators.io.metrics.histogram import ArrayHistogram
from operators.io.metrics.labels import Labels
from operators.io.metrics.root import Metrics
from operators.logic.models import ClickModel
from schemas.results import ActionSummary
from schemas.settings import SettingsError

DOCUMENT = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"
HOST = "127.0.0.1"


FEW = 3
"""Slots, or actions of a slot, with a label of their own where few are to have one."""


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> Metrics:
    return Metrics(registry)


@pytest.fixture
def bounded(registry: CollectorRegistry) -> Metrics:
    """Give metrics with room for few labels."""
    return Metrics(registry, most_labels=FEW)


@pytest.fixture
def value(registry: CollectorRegistry) -> Callable[..., float]:
    return lambda name, **labels: registry.get_sample_value(name, labels) or 0.0


def value_of(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    """Give a sample; None where there is none."""
    return registry.get_sample_value(name, labels)


def samples(registry: CollectorRegistry, name: str) -> list[Any]:
    """Give the samples of a family."""
    return [x for family in registry.collect() if family.name == name for x in family.samples]


def test_the_exporter_serves_on_loopback_and_a_free_port(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    metrics.records.taken_in(["clicks", "clicks"])
    first, second = serve(registry, HOST, 0), serve(registry, HOST, 0)
    assert first != second
    assert first.startswith(f"http://{HOST}:")
    found = read_metrics(first)
    assert found is not None
    assert found.by("banditflow_events_in_total", "topic")["clicks"] >= 2


def test_the_exporter_serves_on_no_other_interface(registry: CollectorRegistry) -> None:
    port = int(serve(registry, HOST, 0).split(":")[2].split("/")[0])
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.2", port), 1):
        pass


def test_a_taken_port_is_refused_by_the_name_of_its_setting(registry: CollectorRegistry) -> None:
    wanted = r"BANDITFLOW_METRICS_PORT.*127\.0\.0\.1"
    with (
        socket.create_server((HOST, 0)) as taken,
        pytest.raises(SettingsError, match=wanted),
    ):
        serve(registry, HOST, taken.getsockname()[1])


def test_nobody_answers_is_no_error() -> None:
    with socket.create_server((HOST, 0)) as silent:
        port = silent.getsockname()[1]
    assert read_metrics(f"http://{HOST}:{port}/metrics") is None


def test_what_is_served_can_be_parsed(metrics: Metrics, registry: CollectorRegistry) -> None:
    metrics.decisions.decisions('sl"ot\n', [0.01, 0.02], [0.5], 3)
    with urllib.request.urlopen(serve(registry, HOST, 0)) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    assert {
        sample.labels["slot"] for f in families for sample in f.samples if "slot" in sample.labels
    }


def test_each_counter_says_since_when_it_counts(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    """The reference of metrics tells of these series, which are the client's own."""
    metrics.records.dead_letters(["empty"])
    said = generate_latest(registry).decode()
    assert re.search(r'^banditflow_dead_letters_created\{reason="empty"\} 1\.', said, re.M)
    document = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"
    assert "_created" in document.read_text()


def test_what_a_flow_never_called_is_not_down(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    """``banditflow_redis_up == 0`` is an alarm, and the persist flow has no use for Redis."""
    assert b"redis" not in generate_latest(registry)
    assert metrics.factors is not None
    assert metrics.redis is not None
    assert metrics.store is not None
    said = generate_latest(registry).decode()
    up = re.findall(r"^banditflow_(redis|store)_up (\S+)$", said, re.M)
    assert sorted(up) == [("redis", "NaN"), ("store", "NaN")]


def test_slots_and_actions_have_a_bounded_number_of_labels(
    bounded: Metrics, registry: CollectorRegistry, value: Callable[..., float]
) -> None:
    chosen, halves = np.array([0, 1]), np.full((2, 20), 0.05)
    for number in range(20):
        slot, actions = f"bounded{number}", [f"b{number}-{action}" for action in range(20)]
        bounded.decisions.decisions(slot, [0.01], [0.1], 1)
        bounded.decisions.choices(slot, actions, chosen, halves)
        summaries = [
            ActionSummary(action_id=a, count=1.0, reward=0.0, mean=0.0, deviation=0.1)
            for a in actions
        ]
        bounded.learner.actions(slot, summaries)
        bounded.attribution.outcomes({(slot, "settled"): 1})
        bounded.attribution.not_learned({(slot, "robot"): 1})
        bounded.learner.model(slot, {"click_auc": 0.5})
    for name, more in (
        ("banditflow_decisions", 1),
        ("banditflow_slot_action_share", 0),
        ("banditflow_propensity_audit_ratio", 1),
        ("banditflow_slot_action_reward", 0),  # what other slots earn has no common meaning
        ("banditflow_decision_latency_seconds", 1),
        ("banditflow_model", 0),
        ("banditflow_policy_version", 0),
    ):
        labels = {(x.labels["slot"], x.labels.get("action")) for x in samples(registry, name)}
        assert len({slot for slot, _ in labels}) == FEW + more
        assert len(labels) <= (FEW + 1) ** 2
    assert value("banditflow_decisions_total", slot="other", action="other") > 0


def test_actions_beyond_the_bound_share_one_label(
    bounded: Metrics, value: Callable[..., float]
) -> None:
    actions = [f"a{number}" for number in range(6)]
    chosen = np.arange(6)
    for _ in range(4000):
        bounded.decisions.choices("summed", actions, chosen, np.full((6, 6), 1 / 6))
    share = {a: value("banditflow_slot_action_share", slot="summed", action=a) for a in actions}
    assert share["a0"] == pytest.approx(1 / 6, abs=1e-4)
    assert value("banditflow_slot_action_share", slot="summed", action="other") == pytest.approx(
        0.5, abs=1e-4
    )
    assert value("banditflow_decisions_total", slot="summed", action="other") == 12_000


def test_the_first_decisions_already_have_whole_shares(
    metrics: Metrics, value: Callable[..., float]
) -> None:
    """Shares began at 0.1 % for all of the traffic, and were right after thousands of decisions."""
    metrics.decisions.choices("new", ["a", "b"], np.array([0, 0, 0, 1]), np.full((4, 2), 0.5))
    share = {a: value("banditflow_slot_action_share", slot="new", action=a) for a in "ab"}
    assert share == pytest.approx({"a": 0.75, "b": 0.25})


def test_a_slot_that_is_no_more_has_no_version_and_no_shares(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    for slot in ("gone", "here"):
        metrics.decisions.decisions(slot, [0.1], [0.1], 7)
        metrics.decisions.choices(slot, ["a"], np.array([0]), np.ones((1, 1)))
    for _ in range(2):  # each shard says so
        metrics.decisions.forget("gone")
    for name in ("banditflow_policy_version", "banditflow_slot_action_share"):
        assert {sample.labels["slot"] for sample in samples(registry, name)} == {"here"}
    metrics.decisions.choices("gone", ["a"], np.array([0]), np.ones((1, 1)))
    assert value_of(registry, "banditflow_slot_action_share", slot="gone", action="a") == 1.0
    assert value_of(registry, "banditflow_decisions_total", slot="gone", action="a") == 2.0


@given(st.lists(st.sampled_from(["other", "other'", "other''", "a", "b", "c"]), max_size=12))
def test_no_name_is_taken_for_the_label_of_the_rest(names: list[str]) -> None:
    labels = Labels(most=4)
    given = {name: labels.slot(name) for name in names}
    own = {name: label for name, label in given.items() if label != "other"}
    assert len(set(own.values())) == len(own)
    assert len(own) == min(len(given), 4)


def test_durations_between_two_clocks_never_lower_a_sum(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    metrics.decisions.decisions("home", [0.5, -0.2], [-3.0, 1.0], 1)
    for name, total in (("decision_latency", 0.5), ("policy_staleness", 1.0)):
        assert value_of(registry, f"banditflow_{name}_seconds_sum", slot="home") == total
        assert value_of(registry, f"banditflow_{name}_seconds_count", slot="home") == 2


def test_measures_of_a_click_model_that_are_not_known_have_no_series(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    model = ClickModel(1)
    metrics.learner.model("home", {"click_auc": 0.7, **model.report()})
    metrics.learner.model("home", model.report())
    shown = {s.labels["measure"]: s.value for s in samples(registry, "banditflow_model")}
    assert shown == {"click_outcomes": 0.0, "click_drifts": 0.0}


def test_the_shares_of_a_slot_sum_to_one_whichever_actions_may_be_drawn(
    metrics: Metrics, value: Callable[..., float]
) -> None:
    for actions in [["a", "b"], ["c"]] * 4000:
        n = len(actions)
        metrics.decisions.choices("parted", actions, np.arange(n), np.full((n, n), 1.0 / n))
    share = {a: value("banditflow_slot_action_share", slot="parted", action=a) for a in "abc"}
    assert share == pytest.approx(dict.fromkeys("abc", 1 / 3), abs=1e-3)


def test_an_action_that_the_policy_forgot_has_no_series_and_others_are_observed_together(
    bounded: Metrics, registry: CollectorRegistry
) -> None:
    def learned(**beliefs: float | None) -> None:
        bounded.learner.actions(
            "rewarded",
            [
                ActionSummary(
                    action_id=action,
                    count=float(place),
                    reward=0.1 * place**2,
                    mean=mean,
                    deviation=mean and 0.1,
                    observed=0.1 * place if place else None,
                )
                for place, (action, mean) in enumerate(beliefs.items())
            ],
        )

    def shown(name: str) -> dict[str, float]:
        found = samples(registry, f"banditflow_slot_action_{name}")
        return {sample.labels["action"]: sample.value for sample in found}

    learned(a=0.1, b=0.2, c=0.3, d=0.4, e=0.6)
    assert shown("reward") == {"a": 0.1, "b": 0.2, "c": 0.3}
    assert shown("reward_deviation") == dict.fromkeys("abc", 0.1)
    assert shown("observations") == {"a": 0.0, "b": 1.0, "c": 2.0, "other": 7.0}
    observed = {"b": 0.1, "c": 0.2, "other": (0.1 * 9 + 0.1 * 16) / 7}
    assert shown("observed_reward") == pytest.approx(observed)
    learned(a=None, b=0.2)
    assert shown("reward") == {"b": 0.2}
    assert shown("observations") == {"a": 0.0, "b": 1.0}
    assert shown("observed_reward") == {"b": 0.1}


def test_workers_of_a_process_lose_no_decision(
    metrics: Metrics, value: Callable[..., float]
) -> None:
    rounds, workers, n = 400, 4, 5

    def work() -> None:
        for _ in range(rounds):
            metrics.decisions.choices("shared", ["a", "b"], np.array([0] * n), np.full((n, 2), 0.5))
            metrics.decisions.decisions("shared", [0.01] * n, [], 1)

    threads = [Thread(target=work) for _ in range(workers)]
    switching = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(switching)
    count = rounds * workers * n
    assert value("banditflow_decisions_total", slot="shared", action="a") == count
    assert value("banditflow_decision_latency_seconds_count", slot="shared") == count
    assert value("banditflow_propensity_audit_ratio", slot="shared") == 1.0


@given(
    st.lists(st.lists(st.floats(-1.0, 20.0, width=32), max_size=30), max_size=5),
    st.lists(st.integers(0, 20), min_size=1, max_size=6, unique=True),
)
def test_the_histogram_counts_as_numpy_does(batches: list[list[float]], limits: list[int]) -> None:
    """What is negative, between two clocks, counts as 0."""
    bounds = sorted(map(float, limits))
    histogram = ArrayHistogram("h_seconds", "H.", "slot", bounds, CollectorRegistry())
    for batch in batches:
        histogram.observe("s", batch)
    values = np.maximum([x for batch in batches for x in batch], 0.0)
    (family,) = histogram.collect()
    samples = {(sample.name, sample.labels.get("le")): sample.value for sample in family.samples}
    if not batches:
        assert samples == {}
        return
    for bound in bounds:
        assert samples["h_seconds_bucket", f"{bound:g}"] == np.count_nonzero(values <= bound)
    assert samples["h_seconds_bucket", "+Inf"] == len(values)
    assert samples["h_seconds_count", None] == len(values)
    assert samples["h_seconds_sum", None] == pytest.approx(values.sum(), abs=1e-3)


def test_every_metric_is_documented_as_it_is(metrics: Metrics, registry: CollectorRegistry) -> None:
    documented = dict(_documented())
    assert metrics.factors is not None
    assert metrics.redis is not None
    assert metrics.store is not None
    exposed = dict(_exposed(registry))
    assert documented.keys() == exposed.keys()
    assert documented == exposed


def test_every_metric_has_a_unit_and_a_meaning() -> None:
    rows = re.findall(r"^\| `(banditflow_\w+)` \|(.*)\|$", DOCUMENT.read_text(), re.M)
    assert len(rows) == len(_documented())
    for name, rest in rows:
        kind, _, unit, meaning = (cell.strip() for cell in rest.split("|"))
        assert unit, name
        assert len(meaning) > 10, name
        assert name.endswith("_total") == (kind == "counter"), name
        if "_seconds" in name:
            assert unit == "seconds", name


def _documented() -> list[tuple[str, tuple[str, str]]]:
    rows = re.findall(r"^\| `(banditflow_\w+)` \| (\w+) \| ([^|]*)\|", DOCUMENT.read_text(), re.M)
    return [(name, (kind, labels.replace("`", "").strip())) for name, kind, labels in rows]


def _exposed(registry: CollectorRegistry) -> list[tuple[str, tuple[str, str]]]:
    collectors: set[Any] = set(registry._collector_to_names)
    found = []
    for collector in collectors:
        labels = getattr(collector, "_labelnames", None) or getattr(collector, "label", None)
        for family in collector.collect():
            if family.name.startswith("banditflow_"):
                names = getattr(family, "_labelnames", None) or labels or ()
                names = (names,) if isinstance(names, str) else names
                name = f"{family.name}_total" if family.type == "counter" else family.name
                found.append((name, (family.type, ", ".join(names))))
    return found


def test_names_that_never_end_make_no_more_series(
    bounded: Metrics, registry: CollectorRegistry
) -> None:
    counts = []
    for turn in range(40):
        slot = f"slot{turn}"
        bounded.records.taken_in(["clicks"])
        bounded.records.dead_letters(["invalid_value"])
        bounded.attribution.outcomes({(slot, "settled"): 1})
        bounded.attribution.not_learned({(slot, "robot"): 1})
        bounded.decisions.decisions(slot, [0.1], [0.1], turn)
        ids = tuple(f"a{turn}-{number}" for number in range(5))
        for name in (slot, "slot0"):
            bounded.decisions.choices(name, ids, np.arange(5), np.full((5, 5), 0.2))
            bounded.decisions.feature_problems(name, {(f"field{turn}", "missing"): 1})
            bounded.learner.ignored(name, "other_width", 1)
            bounded.learner.model(name, {"click_error": 0.5})
            bounded.learner.actions(
                name,
                [
                    ActionSummary(
                        action_id=f"a{turn}", count=1.0, reward=0.0, mean=0.1, deviation=0.1
                    )
                ],
            )
        counts.append(sum(len(family.samples) for family in registry.collect()))
    assert counts[-1] == counts[2 * FEW]
    before = counts[-1]
    bounded.learner.forget("slot1")
    bounded.learner.forget("slot39")
    after = [s.labels for f in registry.collect() for s in f.samples if "model" in f.name]
    assert {labels["slot"] for labels in after} == {"slot0", "slot2"}
    assert sum(len(family.samples) for family in registry.collect()) < before


def test_alerts_ask_for_series_that_there_are() -> None:
    root = Path(__file__).parents[2]
    asked = re.findall(r"banditflow_\w+", (root / "ops/docker/alerts.yml").read_text())
    listed = (root / "docs/reference/metrics.md").read_text()
    assert asked
    assert all(f"`{name}`" in listed for name in asked)
