"""What no later step could bear is refused where the catalog is read, by the name of its field."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from operators.logic.catalog_check import flaw_of, read_entry, sentence
from operators.logic.features import FeatureMap, check_products, count_columns
from operators.logic.free_json import json_flaw
from operators.logic.policies import Deltas
from operators.logic.policy_memory import bytes_per_action, most_actions
from operators.logic.slot_policy import new_policy, policy_dim
from schemas import bounds
from schemas.catalog import FeatureSpec, Interaction, PolicySettings, Slot
from schemas.codec import Flaw
from tests.support import records as make

SLOT = {"type": "slot", "id": "s", "time": "2026-01-01T00:00:00Z", "slot_id": "home"}
ACTION = {"type": "action", "id": "a", "time": "2026-01-01T00:00:00Z", "action_id": "a"}
ACTION |= {"slots": ["home"]}
SHARED = {"features": {"auto": {}}}
LONG = "x" * 257


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def policy(kind: str, **params: Any) -> dict[str, Any]:
    return {"policy": {"kind": kind, "params": params}}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"content": {"size": [1, 10**24]}}, "content.size[1]"),
        ({"content": {"size": -(2**63) - 1}}, "content.size"),
        ({"content": deep(17)}, "content" + "[0]" * 16),
        ({"content": "x" * 131_071}, "content"),
        ({"features": {"price": 2**64}}, "features.price"),
        ({"features": {str(n): n for n in range(257)}}, "features"),
        ({"features": {LONG: 1}}, "features"),
        ({"features": {"v": [0.12345678901234567] * 8000}}, "features"),
        ({"embedding": [1.0, 1e39]}, "embedding"),
        ({"embedding": [1.0] * 4097}, "embedding"),
        ({"slots": ["home"] * 1001}, "slots"),
        ({"slots": [LONG]}, "slots[0]"),
        ({"action_id": LONG}, "action_id"),
        ({"source": LONG}, "source"),
        ({"neighbours": [{"action_id": "a", "similarity": 0.5}]}, "neighbours"),
    ],
)
def test_an_action_that_no_step_could_keep_is_refused(changes: Any, field: str) -> None:
    flaw = read_entry(json.dumps(ACTION | changes).encode())
    assert isinstance(flaw, Flaw)
    assert (flaw.reason, flaw.field) == ("invalid_value", field)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"reward_window": 1e12}, "reward_window"),
        ({"reward_window": 1e-9}, "reward_window"),
        ({"reward_range": [0, 1e10]}, "reward_range[1]"),
        ({"reward_range": [1, 0]}, "reward_range"),
        ({"reward_range": [0, 1e-9]}, "reward_range"),
        ({"default_reward": 2}, "default_reward"),
        ({"click_reward": -1e10}, "click_reward"),
        ({"slate_size": 10**30}, "slate_size"),
        ({"floor": 1.0}, "floor"),
        ({"holdout": {"share": 1.5}}, "holdout.share"),
        ({"baseline_action_id": LONG}, "baseline_action_id"),
        ({"item_features": ["a"] * 65}, "item_features"),
        ({"policy": {"publish_interval": 1e12}}, "policy.publish_interval"),
        ({"policy": {"publish_rewards": 10**30}}, "policy.publish_rewards"),
        (policy("beta", prior_reward=10**30), "policy.params.prior_reward"),
        (policy("split", shares={"a": [2**70]}), "policy.params.shares.a[0]"),
        (policy("split", shares={"a": 1e308, "b": 1e308}), "policy.params.shares[...]"),
        (policy("beta", prior_reward=1e308), "policy.params.prior_reward"),
        (policy("beta", half_life=1e-300), "policy.params.half_life"),
        (policy("logistic", prior_variance=1e308), "policy.params.prior_variance"),
        (policy("logistic", prior_mean=-1e308), "policy.params.prior_mean"),
        (policy("gaussian", noise=1e-200), "policy.params.noise"),
        (policy("diagonal", rate="fast"), "policy.params.rate"),
        (policy("logistik"), "policy.kind"),
        (policy(LONG), "policy.kind"),
        ({"features": {"numeric": [LONG]}}, "features.numeric[0]"),
        ({"features": {"vectors": {LONG: 3}}}, "features.vectors"),
        ({"features": {"numeric": ["a"] * 8193}}, "features.numeric"),
        ({"features": {"numeric": ["a"], "interactions": [{"left": "a", "right": "b"}]}},
         "features"),
        ({"features": {"interactions": [{"left": "a", "right": "a"}] * 257}},
         "features.interactions"),
        ({"features": {"hashed": {"page": 65536}}}, "features"),
        ({"features": {"vectors": {"a": 4096, "b": 4096}}}, "features"),
        ({"features": {"profile_embedding": 4096, "vectors": {"a": 4096}}}, "features"),
        ({"features": {"categories": {str(n): ["x"] * 5000 for n in range(2)}}}, "features"),
        (
            {
                "features": {
                    "vectors": {"a": 100, "b": 100},
                    "interactions": [{"left": "a", "right": "b"}],
                }
            },
            "features",
        ),
        (
            policy("logistic")
            | {
                "features": {
                    "numeric": [f"n{n}" for n in range(3)],
                    "hashed": {"page": 4000},
                    "interactions": [{"left": f"n{n}", "right": "page"} for n in range(3)],
                    "scale": True,
                }
            },
            "features",
        ),
        (policy("logistic") | {"features": {"vectors": {"v": 512}}}, "features"),
        (policy("greedy") | {"features": {"hashed": {"page": 512}}}, "features"),
        (policy("logistic") | {"features": {"auto": {}}}, "features.auto"),
        (policy("diagonal") | {"features": {"auto": {}}}, "features.auto"),
        ({"features": {"auto": {}, "numeric": ["a"]}}, "features.auto"),
        ({"features": {"auto": {}, "vectors": {"a": 2}}}, "features.auto"),
        ({"features": {"auto": {}, "categories": {"a": ["b"]}}}, "features.auto"),
        ({"features": {"auto": {}, "hashed": {"a": 2}}}, "features.auto"),
        ({"features": {"auto": {}, "profile": ["clicks"]}}, "features.auto"),
        ({"features": {"auto": {}, "profile_embedding": 2}}, "features.auto"),
        ({"features": {"auto": {}, "time_of_day": True}}, "features.auto"),
        ({"features": {"auto": {}, "scale": True}}, "features.auto"),
        ({"features": {"auto": {}, "interaction_buckets": 2}}, "features.auto"),
        ({"features": {"auto": {"bits": 7}}}, "features.auto.bits"),
        ({"features": {"auto": {"bits": 21}}}, "features.auto.bits"),
        ({"features": {"auto": {"bit": 8}}}, "features.auto"),
        ({"features": {"auto": {"most_features": 0}}}, "features.auto.most_features"),
        ({"features": {"auto": {"most_features": 4097}}}, "features.auto.most_features"),
        ({"features": {"auto": {"most_crossed": -1}}}, "features.auto.most_crossed"),
        ({"features": {"auto": {"context_products": -1}}}, "features.auto.context_products"),
        ({"features": {"auto": {"most_crossed": 65_537}}}, "features.auto.most_crossed"),
        ({"features": {"auto": {"crosses": [["a"]]}}}, "features.auto.crosses[0]"),
        ({"features": {"auto": {"crosses": [["a", LONG]]}}}, "features.auto.crosses[0][1]"),
        ({"features": {"auto": {"crosses": [["a", "b"]] * 65}}}, "features.auto.crosses"),
        ({"features": {"auto": {"crosses": [["a", "b"]] * 2}}}, "features.auto.crosses[1]"),
        ({"features": {"auto": {"crosses": [["a", "b"]], "ignore": ["b"]}}},
         "features.auto.crosses[0]"),
        ({"features": {"auto": {"ignore": [LONG]}}}, "features.auto.ignore[0]"),
        ({"features": {"auto": {"ignore": ["a"] * 257}}}, "features.auto.ignore"),
    ],
)  # fmt: skip
def test_a_slot_that_no_step_could_serve_is_refused(changes: Any, field: str) -> None:
    flaw = read_entry(json.dumps(SLOT | changes).encode())
    assert isinstance(flaw, Flaw)
    assert (flaw.reason, flaw.field) == ("invalid_value", field)
    assert len(flaw.detail) <= 300


@pytest.mark.parametrize(
    "auto",
    [
        {},
        {"bits": 8, "crosses": [], "most_features": 1, "most_crossed": 0},
        {"bits": 20, "most_features": 4096, "most_crossed": 65_536, "scale": False},
        {"crosses": [["", "a"], ["a", ""]], "ignore": ["b"], "context_alone": False},
    ],
)
def test_features_without_a_declaration_are_read(auto: dict[str, Any]) -> None:
    entry = read_entry(json.dumps(SLOT | {"features": {"auto": auto}}).encode())
    assert isinstance(entry, Slot)
    assert entry.features.auto is not None


def test_a_matrix_that_does_not_fit_is_refused_with_its_size() -> None:
    spec = FeatureSpec(hashed={"page": 8190})
    flaw = flaw_of(make.slot("home", policy=PolicySettings(kind="logistic"), features=spec))
    assert flaw is not None
    assert "a matrix of 511.9 MiB for each action" in flaw.detail
    assert flaw_of(make.slot("home", policy=PolicySettings(kind="diagonal"), features=spec)) is None
    spec.hashed["page"] = 65536
    flaw = flaw_of(make.slot("home", policy=PolicySettings(kind="logistic"), features=spec))
    assert flaw is not None
    assert "a matrix of 32.0 GiB for each action" in flaw.detail


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As a flow runs: on a busy machine several threads wait for each other."""
    with threadpool_limits(1, user_api="blas"):
        yield


@pytest.mark.parametrize(
    ("kind", "columns"), [("logistic", 512), ("gaussian", 512), ("greedy", 512), ("beta", 8192)]
)
def test_the_largest_policies_can_be_made_and_no_larger(kind: str, columns: int) -> None:
    for more in (0, 1):
        spec = FeatureSpec(hashed={"page": columns - 1 + more})
        slot = make.slot("home", policy=PolicySettings(kind=kind), features=spec)
        assert (flaw_of(slot) is None) is (not more)


def test_how_many_actions_fit_follows_from_the_policy() -> None:
    def allowed(kind: str, columns: int, **changes: Any) -> int:
        settings = PolicySettings(kind=kind, params=changes.pop("params", {}))
        spec = FeatureSpec(hashed={"page": columns - 1})
        return most_actions(make.slot("home", policy=settings, features=spec, **changes))

    assert allowed("beta", 100) == bounds.MOST_ACTIONS
    assert allowed("logistic", 40) == bounds.MOST_ACTIONS
    assert 70 < allowed("logistic", 512) < 90
    assert 200 < allowed("diagonal", 8192) < 300
    assert allowed("logistic", 32, item_features=["kind"]) == bounds.MOST_RELATED_ACTIONS
    assert allowed("beta", 2, params={"neighbours": 0.5}) == bounds.MOST_RELATED_ACTIONS


NAMES = st.sampled_from(["a", "b", "c", "other"])
SPECS = st.builds(
    FeatureSpec,
    numeric=st.lists(NAMES, max_size=3),
    vectors=st.dictionaries(st.sampled_from("vw"), st.integers(1, 9), max_size=2),
    categories=st.dictionaries(
        st.sampled_from("xy"), st.lists(NAMES, unique=True, max_size=4), max_size=2
    ),
    hashed=st.dictionaries(st.sampled_from("hg"), st.integers(2, 90), max_size=2),
    profile=st.lists(NAMES, max_size=2),
    profile_embedding=st.integers(0, 5),
    interactions=st.lists(
        st.builds(
            Interaction,
            left=st.sampled_from(["a", "b", "v", "x", "h", "profile.a", "time_of_day"]),
            right=st.sampled_from(["a", "w", "y", "g", "profile.embedding"]),
        ),
        max_size=3,
    ),
    interaction_buckets=st.integers(2, 80),
    time_of_day=st.booleans(),
    scale=st.booleans(),
)


@settings(deadline=None)
@given(SPECS)
def test_columns_are_counted_as_they_are_laid_out(spec: FeatureSpec) -> None:
    slot = make.slot("home", policy=PolicySettings(kind="beta"), features=spec)
    check_products(spec)
    if flaw_of(slot) is None:
        assert count_columns(spec) == FeatureMap(spec).dim


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=30,
)


@settings(deadline=None)
@given(JSON)
def test_what_has_no_flaw_can_be_written_and_read_by_every_codec(value: Any) -> None:
    import msgspec
    import orjson

    if json_flaw(value, "content") is None:
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(value)) == value
        assert msgspec.json.decode(msgspec.json.encode(value)) == value
        orjson.dumps(value)


@pytest.mark.parametrize("kind", ["logistic", "gaussian", "greedy", "diagonal"])
@pytest.mark.parametrize("columns", [8, 64])
def test_the_memory_that_is_counted_is_the_memory_that_is_held(kind: str, columns: int) -> None:
    """The statistics of both policies and the posterior, without the click model."""
    slot = make.slot(
        "home",
        policy=PolicySettings(kind=kind),
        features=FeatureSpec(vectors={"v": columns - 1}),
    )
    assert policy_dim(slot, FeatureMap(slot.features)) == columns
    ids = [f"a{n}" for n in range(20)]
    held = 0
    for _ in range(2):
        policy = new_policy(slot, tuple(make.action(name) for name in ids), columns)
        ones = np.ones(20)
        policy.learn(
            Deltas(
                action_ids=ids,
                x=np.ones((20, columns)),
                eta=0 * ones,
                time=ones,
                count_delta=ones,
                reward_delta=0 * ones,
            )
        )
        model = getattr(policy, "_model", policy)
        held += sum(array.nbytes for array in model._statistics._arrays.values())
    posterior = policy.publish()
    held += posterior._factor.nbytes + posterior.mean.nbytes  # type: ignore[attr-defined]
    held += sum(array.nbytes for array in posterior._all)  # type: ignore[attr-defined]
    assert held <= 21 * bytes_per_action(slot)


NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(
        [0, 1, -1, 2**62, 2**64, 1e308, -1e308, 5e-324, 1e-300, 0.5, "a", None, [], {}]
    ),
)
PARAMS = {
    "beta": ["prior_reward", "prior_failure", "half_life", "sharpen", "neighbours",
             "action_variance", "optimism"],
    "logistic": ["alpha", "prior_mean", "prior_variance", "intercept_variance", "curvature_floor",
                 "half_life", "iterations", "prior_strength", "ridge", "neighbours",
                 "action_variance", "optimism"],
    "gaussian": ["alpha", "prior_mean", "prior_variance", "intercept_variance", "noise",
                 "half_life", "iterations", "prior_strength", "ridge", "neighbours",
                 "action_variance", "optimism"],
    "diagonal": ["alpha", "prior_mean", "prior_variance", "intercept_variance", "rate", "damping",
                 "half_life", "action_variance", "optimism"],
    "greedy": ["epsilon", "half_life"],
}  # fmt: skip


@st.composite
def learning_slots(draw: st.DrawFn) -> Slot:
    kind = draw(st.sampled_from(sorted(PARAMS)))
    extremes = st.sampled_from([1e-9, 1e-6, 1e-3, 0.5, 1, 1e3, 1e6, 1e9, 1e10, -1e6, 2, 20, 0])
    params = draw(st.dictionaries(st.sampled_from(PARAMS[kind]), extremes | NUMBERS))
    spec = FeatureSpec(numeric=["n", "m"], scale=draw(st.booleans()))
    return make.slot(
        "home",
        policy=PolicySettings(kind=kind, params=params),
        features=spec,
        item_features=["price", "embedding"],
    )


@settings(max_examples=150, deadline=None)
@given(
    learning_slots(),
    st.lists(st.sampled_from([-1e6, -1.0, 0.0, 1e-6, 1.0, 1e6]), min_size=8, max_size=8),
    st.lists(st.sampled_from([-1e300, -1e6, 0.0, 1.0, 2**62, 1e300]), min_size=4, max_size=4),
)
def test_any_parameters_that_pass_learn_and_decide_in_numbers(
    slot: Slot, numbers: list[float], prices: list[float]
) -> None:
    if flaw_of(slot) is not None:
        return
    ids = ["a", "b", "c", "d"]
    actions = tuple(
        make.action(name, features={"price": price}, embedding=[price and 1e6, 1.0])
        for name, price in zip(ids, prices, strict=True)
    )
    policy = new_policy(slot, actions, 3)
    x = np.hstack([np.ones((4, 1)), np.array(numbers).reshape(4, 2)])
    for step in range(8):
        policy.learn(
            Deltas(
                action_ids=ids,
                x=x if slot.policy.kind != "beta" else np.zeros((4, 0)),
                eta=np.array([0.0, 30.0, -30.0, 1e9]),
                time=np.array([0.0, 1.8e9, 1.8e9 + step, 7.2e9]),
                count_delta=np.ones(4),
                reward_delta=np.array([0.0, 1.0, 0.0, 1.0]),
            )
        )
    posterior = policy.publish()
    weights = posterior.weigh(x if slot.policy.kind != "beta" else np.zeros((4, 0)))
    assert np.isfinite(weights.p).all()
    assert np.allclose(weights.p.sum(axis=1), 1.0)
    assert np.isfinite(weights.eta).all()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"candidates": "requests"}, "candidates: must be one of catalog, request"),
        ({"holdout": {"unit": "visit"}}, "holdout.unit: must be one of decision, subject"),
        (SHARED | policy("shared", rank=100),
         "policy.params.rank: must be one of 32, 64, 128, 256, 512, got 100"),
        (SHARED | policy("shared", link="probit"),
         "policy.params.link: must be one of gaussian, logistic, got 'probit'"),
        (policy("shared"),
         """features.auto: is missing: policy 'shared' needs it, such as {"auto": {}}"""),
        (SHARED | policy("shared", rank=512),
         "features: policy 'shared' with rank 512 and 65,536 columns (buckets, or 2 to the power "
         "of bits) needs 1.0 GiB, of 512.0 MiB"),
    ],
)  # fmt: skip
def test_what_is_said_names_the_field_and_what_may_stand_there(changes: Any, said: str) -> None:
    flaw = read_entry(json.dumps(SLOT | changes).encode())
    assert isinstance(flaw, Flaw)
    assert sentence(flaw) == said
