"""The click model: what it learns, and that replays and restarts agree. Seeds are fixed."""

import numpy as np
import pytest
from msgspec import structs
from river import facto, linear_model, optim
from scipy.stats import rankdata

from operators.logic.features import Scaled, pack_rows
from operators.logic.models import ClickModel, ClickSettings
from schemas.state import StateError
from tests.support.settled import settled, settlements, world

KINDS = [
    ClickSettings(kind="logistic", optimizer="adagrad"),
    ClickSettings(kind="logistic", optimizer="ftrl", learning_rate=0.1),
    ClickSettings(kind="factorization", optimizer="adagrad", learning_rate=0.02),
    ClickSettings(kind="factorization", optimizer="ftrl", learning_rate=0.02),
]
WORLD = world(20_000)


def predictions(model, n=500):
    return model.predict(WORLD.x[-n:], [outcome.action_id for outcome in WORLD.outcomes[-n:]])


@pytest.mark.parametrize("kind", ["adagrad", "ftrl"])
def test_the_logistic_model_finds_the_true_probabilities(kind):
    model = ClickModel(4, ClickSettings(optimizer=kind, learning_rate=0.1, warmup=20_000))
    assert model.learn(settlements(WORLD.outcomes)) == len(WORLD.outcomes)
    assert np.corrcoef(predictions(model), WORLD.p[-500:])[0, 1] > 0.97
    losses = np.log(WORLD.p), np.log(1 - WORLD.p)
    entropy = -(WORLD.p * losses[0] + (1 - WORLD.p) * losses[1]).mean()
    assert model.calibration.log_loss() < entropy + 0.02
    assert model.calibration.error() < 0.03  # what it predicted while it knew nothing included
    assert model.calibration.auc() > 0.8


def test_the_factorisation_machine_learns_products():
    """Clicks depend on the product of two features, which no linear model sees."""
    rng = np.random.default_rng(3)
    x = np.ones((12_000, 3))
    x[:, 1:] = rng.choice([-1.0, 1.0], size=(12_000, 2))
    p = 1 / (1 + np.exp(-2 * x[:, 1] * x[:, 2]))
    clicks = rng.random(12_000) < p
    outcomes = [
        settled(i, "a0", float(y), features=f)
        for i, (f, y) in enumerate(zip(pack_rows(x), clicks, strict=True))
    ]
    models = {
        kind: ClickModel(3, ClickSettings(kind=kind, learning_rate=0.05))
        for kind in ("factorization", "logistic")
    }
    for model in models.values():
        model.learn(settlements(outcomes))
    assert models["factorization"].calibration.auc() > 0.85
    assert models["logistic"].calibration.auc() < 0.55


@pytest.mark.parametrize("settings", KINDS)
def test_restarts_and_batches_change_nothing(settings):
    outcomes = WORLD.outcomes[:1200]
    whole = ClickModel(4, settings)
    whole.learn(settlements(outcomes))
    again = ClickModel(4, settings)
    for start in range(0, len(outcomes), 170):
        again.learn(settlements(outcomes[start : start + 170]))
        again = ClickModel.load(again.dump())
    assert predictions(again) == pytest.approx(predictions(whole), rel=1e-12)
    assert again.report() == pytest.approx(whole.report(), rel=1e-12)
    assert again.dump() == whole.dump()


def test_rivers_own_model_learns_the_same():
    """Our inputs fed to River by hand: intercept, context, context crossed with the action."""
    outcomes = WORLD.outcomes[:300]
    settings = ClickSettings(optimizer="adagrad", learning_rate=0.05, initial_rate=0.5)
    model = ClickModel(4, settings)
    model.learn(settlements(outcomes))
    river = linear_model.LogisticRegression(optim.AdaGrad(0.05), intercept_lr=0.0)
    actions = list(dict.fromkeys(outcome.action_id for outcome in outcomes))
    for row, outcome in zip(WORLD.x[:300].tolist(), outcomes, strict=True):
        start = 4 * (1 + actions.index(outcome.action_id))
        x = dict(enumerate(row)) | {start + j: value for j, value in enumerate(row)}
        river.learn_one(x, outcome.reward > 0)
    expected = [
        river.predict_proba_one(
            dict(enumerate(row))
            | {4 * (1 + actions.index(o.action_id)) + j: v for j, v in enumerate(row)}
        )[True]
        for row, o in zip(WORLD.x[-500:].tolist(), WORLD.outcomes[-500:], strict=True)
    ]
    assert predictions(model) == pytest.approx(expected, rel=1e-12)


def test_the_linear_time_factorisation_machine_is_rivers():
    """River's pairwise sums from the same latent vectors give the same predictions."""
    outcomes = WORLD.outcomes[:400]
    model = ClickModel(4, ClickSettings(kind="factorization", learning_rate=0.02))
    model.learn(settlements(outcomes))
    ours = model._model
    river = facto.FMClassifier(n_factors=4, intercept=ours.intercept)
    river.weights.update(ours.weights)
    river.latents.update(ours.latents)
    for row, outcome in zip(WORLD.x[:50], outcomes, strict=False):
        x = model._input(row, outcome.action_id)
        expected = river.predict_proba_one(x)[True]
        assert ours.predict_proba_one(x)[True] == pytest.approx(expected, rel=1e-9)


def test_scores_come_before_learning():
    """The first outcome is scored by the initial rate, whatever its answer."""
    for reward in (0.0, 1.0):
        model = ClickModel(1, ClickSettings(initial_rate=0.2))
        model.learn(settlements([settled(0, "a0", reward)]))
        assert model.calibration.table()[0].predicted == pytest.approx(0.2)


def test_the_sample_is_a_fair_share_after_the_warm_up():
    """3 standard deviations either way; the keys are fixed."""
    model = ClickModel(4, ClickSettings(warmup=1000, sample=0.25))
    learned = model.learn(settlements(WORLD.outcomes[:9000]))
    assert abs(learned - 1000 - 2000) < 3 * (8000 * 0.25 * 0.75) ** 0.5
    parts = ClickModel(4, ClickSettings(warmup=1000, sample=0.25))
    assert (
        sum(parts.learn(settlements(WORLD.outcomes[i : i + 100])) for i in range(0, 9000, 100))
        == learned
    )


def test_auc_is_exact_over_the_window():
    model = ClickModel(4, ClickSettings(window=700))
    scores, clicks = [], []
    for outcome, row in zip(WORLD.outcomes[:2000], WORLD.x, strict=False):
        scores.append(model.predict(row[None], [outcome.action_id])[0])
        clicks.append(outcome.reward > 0)
        model.learn(settlements([outcome]))
    ranks, hits = rankdata(scores[-700:]), np.array(clicks[-700:])
    n = hits.sum()
    expected = (ranks[hits].sum() - n * (n + 1) / 2) / (n * (700 - n))
    assert model.calibration.auc() == pytest.approx(expected, abs=1e-9)


def test_the_reliability_table_is_honest():
    model = ClickModel(4, ClickSettings(warmup=20_000))
    model.learn(settlements(WORLD.outcomes))
    table = model.calibration.table()
    assert sum(row.size for row in table) == len(WORLD.outcomes)
    clicks = sum(outcome.reward for outcome in WORLD.outcomes)
    assert sum(row.observed * row.size for row in table) == pytest.approx(clicks)
    for row in table:
        assert row.low <= row.predicted <= row.high
        assert row.interval[0] <= row.observed <= row.interval[1]


def test_drift_is_found_when_the_world_changes_and_only_then():
    """delta = 0.002 a check; the seeds are fixed."""
    calm = ClickModel(4, ClickSettings(warmup=20_000))
    calm.learn(settlements(WORLD.outcomes))
    assert calm.drift.detections == 0
    flipped = ClickModel(4, ClickSettings(warmup=20_000))
    flipped.learn(settlements(world(12_000, flip_at=10_000).outcomes))
    assert flipped.drift.detections == 1
    assert 10_000 < flipped.drift.last < 11_000


def test_another_kind_of_state_is_refused():
    snapshot = ClickModel(4).dump().replace(b"click-model/3", b"click-model/9")
    with pytest.raises(StateError, match="was written as version 9"):
        ClickModel.load(snapshot)


def test_scaled_numbers_are_predicted_as_well_as_standardised_ones():
    """One seed; log-loss after 6,000 outcomes, whose noise is far below the bounds."""
    rng = np.random.default_rng(5)
    n = 6000
    state = rng.normal(size=n)
    clicks = rng.random(n) < 1.0 / (1.0 + np.exp(1.0 - 1.5 * state))
    losses = {}
    for name, price, scaled in [
        ("standardised", state, None),
        ("scaled", 1e5 + 2e4 * state, Scaled((1,))),
        ("raw", 1e5 + 2e4 * state, None),
    ]:
        rows = pack_rows(np.column_stack([np.ones(n), price]))
        outcomes = [settled(i, "a0", float(clicks[i]), features=rows[i]) for i in range(n)]
        model = ClickModel(2, ClickSettings(warmup=n), scaled)
        model.learn(settlements(outcomes[: n // 2]))
        model = ClickModel.load(model.dump())
        model.learn(settlements(outcomes[n // 2 :]))
        losses[name] = model.calibration.log_loss()
    assert losses["scaled"] < losses["standardised"] + 0.02
    assert losses["raw"] > losses["standardised"] + 0.1


@pytest.mark.parametrize("settings", KINDS)
def test_only_the_actions_learned_from_last_are_remembered(settings):
    settings = structs.replace(settings, max_actions=6, warmup=10_000)
    chance = np.random.default_rng(1)
    x = np.where(chance.random((900, 4)) < 0.5, chance.normal(size=(900, 4)), 0.0)
    features = pack_rows(x.astype(np.float32))
    names = [f"a{number // 20 + number % 4}" for number in range(900)]
    outcomes = [
        settled(number, name, float(number % 3 == 0), features=features[number])
        for number, name in enumerate(names)
    ]
    whole, again, sizes = ClickModel(4, settings), ClickModel(4, settings), []
    whole.learn(settlements(outcomes))
    for start in range(0, 900, 70):
        again.learn(settlements(outcomes[start : start + 70]))
        again = ClickModel.load(again.dump())
        sizes.append(len(again.dump()) - 9 * min(start + 70, 900))  # without what AUC remembers
        assert len(again._actions) <= 6
    assert again.dump() == whole.dump()
    assert list(again._actions)[-4:] == sorted(names[-4:])
    assert max(sizes[6:]) < 1.1 * max(sizes[:6])
    # A forgotten action is as one that was never seen.
    for action_id in ("a0", "unheard-of"):
        assert whole.predict(WORLD.x[:5], [action_id] * 5).tolist() == whole.predict(
            WORLD.x[:5], ["another"] * 5
        ).tolist()  # fmt: skip
