"""River's click-probability model with progressive validation."""

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray
from river import linear_model, optim, utils

from operators.logic.features.scaling import Scaled
from operators.logic.models.calibration import Calibration, CalibrationState, log_loss
from operators.logic.models.drift import Drift, DriftState
from operators.logic.models.factorization import FactorizationMachine
from operators.logic.models.keyed import KeyedLatents
from operators.logic.models.online_scale import OnlineScale, OnlineScaleState
from operators.logic.models.tables import PackedTable, pack_numbers, pack_vectors, unpack_table
from operators.logic.settlements import Settlements, sampled
from schemas.state import pack, unpack

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

_KIND, _VERSION = "click-model", 3
_WORST = log_loss(0.0, True)
"""The largest log-loss there is: errors are divided by it for ADWIN."""


class ClickSettings(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Which click model learns, and from what share of the outcomes.

    ``logistic`` crosses every context feature with the action; ``factorization`` learns the
    products of action and context features from ``factors`` latent numbers each. The first
    ``warmup`` settled outcomes are all scored and learned, later ones with probability
    ``sample``, by their key: it bounds the cost, and rates stay unbiased. An outcome is a click
    when its reward exceeds ``threshold``. Beyond ``max_actions`` the action that was learned from
    the longest time ago is forgotten.
    """

    kind: Literal["logistic", "factorization"] = "logistic"
    optimizer: Literal["adagrad", "ftrl"] = "ftrl"
    learning_rate: float = 0.1
    l2: float = 0.0
    factors: int = 4
    initial_rate: float = 0.05
    warmup: int = 5_000
    sample: float = 0.05
    threshold: float = 0.0
    window: int = 5000
    drift_delta: float = 0.002
    max_actions: int = 1000


class _State(Struct):
    """The written form; version 2 has a list of the actions by their numbers."""

    settings: ClickSettings
    dim: int
    actions: dict[str, int] | list[str]
    intercept: float
    iterations: int
    tables: dict[str, PackedTable]
    latents: PackedTable | None
    calibration: CalibrationState
    drift: DriftState
    seen: int
    scale: OnlineScaleState | None = None


class ClickModel:
    """Learns the probability that a shown action is clicked, one settled outcome at a time.

    Every outcome is scored before it is learned, so the reported log-loss, AUC, calibration and
    drift are those of honest predictions. The state after the same outcomes in the same order is
    the same, however they were batched and wherever it was saved and loaded in between.

    Parameters
    ----------
    dim
        The width of the context vectors.
    settings
        Which model, and how it learns.
    scaled
        The columns that are scaled, by the outcomes learned so far.
    """

    def __init__(
        self, dim: int, settings: ClickSettings | None = None, scaled: Scaled | None = None
    ) -> None:
        self.settings = settings or ClickSettings()
        self.dim = dim
        self.calibration = Calibration(self.settings.window)
        self.drift = Drift(self.settings.drift_delta)
        self.seen = 0
        self._scale = OnlineScale(scaled, dim) if scaled is not None else None
        self._actions: dict[str, int] = {}
        self._model: Any = _build(self.settings)

    def count_as_clicks(self, *, above: float) -> None:
        """From now on take an outcome for a click where its reward exceeds this one."""
        self.settings = replace(self.settings, threshold=above)

    def learn(self, settled: Settlements) -> int:
        """Score, then learn settlements of ``dim`` features in order; give their number."""
        taken = self._taken(settled)
        rows = settled.x[taken].astype(np.float64)
        clicked = (settled.reward[taken] > self.settings.threshold).tolist()
        for place, row, click in zip(taken.tolist(), rows, clicked, strict=True):
            self._learn_one(row, settled.actions[place], click)
        return len(taken)

    def predict(self, x: Floats, action_ids: Sequence[str]) -> Floats:
        """Give the click probability of an action in each context of (rows, dim)."""
        pairs = zip(x, action_ids, strict=True)
        return np.array([self._predict_one(self._input(row, a)) for row, a in pairs])

    def report(self) -> dict[str, float]:
        """Give the model's measures for the policy snapshot; those that are not known are left out.

        Without any outcome nothing but their number is known.
        """
        outcomes = self.calibration.count
        measures = {"click_outcomes": float(outcomes), "click_drifts": float(self.drift.detections)}
        if not outcomes:
            return measures
        measures["click_log_loss"] = self.calibration.log_loss()
        measures["click_calibration_error"] = self.calibration.error()
        measures["click_error"] = self.drift.mean
        auc = self.calibration.auc()
        return measures if auc is None else measures | {"click_auc": auc}

    def dump(self) -> bytes:
        """Write the state compactly; :meth:`load` gives a model that predicts and learns alike."""
        model = self._model
        optimizer = _optimizer(model)
        tables = {name: pack_numbers(getattr(optimizer, name)) for name in _memory(self.settings)}
        linear = self.settings.kind == "logistic"
        tables["weights"] = pack_numbers(model._weights.to_dict() if linear else model.weights)
        state = _State(
            settings=self.settings,
            dim=self.dim,
            actions=self._actions,
            intercept=float(model.intercept),
            iterations=optimizer.n_iterations,
            tables=tables,
            latents=None if linear else pack_vectors(model.latents, self.settings.factors),
            calibration=self.calibration.state(),
            drift=self.drift.state(),
            seen=self.seen,
            scale=None if self._scale is None else self._scale.state(),
        )
        return pack(_KIND, _VERSION, state)

    @classmethod
    def load(cls, snapshot: bytes) -> "ClickModel":
        """Read what :meth:`dump` wrote."""
        state = unpack(_KIND, _VERSION, _State, snapshot, older=(2,))
        click = cls(state.dim, state.settings)
        actions = state.actions
        if isinstance(actions, list):
            actions = {action_id: number for number, action_id in enumerate(actions)}
        click._actions = actions
        model, optimizer = click._model, _optimizer(click._model)
        model.intercept = state.intercept
        optimizer.n_iterations = state.iterations
        for name in _memory(state.settings):
            getattr(optimizer, name).update(unpack_table(state.tables[name]))
        weights = dict(unpack_table(state.tables["weights"]))
        if state.latents is None:
            model._weights = utils.VectorDict(weights)
        else:
            model.weights.update(weights)
            model.latents.update(unpack_table(state.latents))
        click.calibration.restore(state.calibration)
        click.drift.restore(state.drift)
        click.seen = state.seen
        click._scale = None if state.scale is None else OnlineScale.of(state.scale)
        return click

    def _taken(self, settled: Settlements) -> Indices:
        numbers = self.seen + 1 + np.arange(len(settled))
        self.seen += len(settled)
        warm: NDArray[np.bool_] = numbers <= self.settings.warmup
        return np.flatnonzero(warm | sampled(settled.key, self.settings.sample))

    def _learn_one(self, row: Floats, action_id: str, clicked: bool) -> None:
        self._meet(action_id)
        x = self._input(row, action_id)
        loss = self.calibration.update(self._predict_one(x), clicked)
        self.drift.update(min(loss / _WORST, 1.0))
        self._model.learn_one(x, clicked)
        if self._scale is not None:
            self._scale.take(row)

    def _meet(self, action_id: str) -> None:
        """Find or make an action's number; the dict lists the longest unseen first."""
        number = self._actions.pop(action_id, None)
        if number is None:
            number = len(self._actions)
            if number >= self.settings.max_actions:
                number = self._actions.pop(next(iter(self._actions)))
                self._forget(number)
        self._actions[action_id] = number

    def _forget(self, number: int) -> None:
        """Drop all weights of the action with this number."""
        model, optimizer = self._model, _optimizer(self._model)
        tables = [getattr(optimizer, name) for name in _memory(self.settings)]
        if self.settings.kind == "factorization":
            keys = range(self.dim + number, self.dim + number + 1)
            tables += [model.weights, model.latents]
        else:
            keys = range(self.dim * (1 + number), self.dim * (2 + number))
            tables.append(model._weights)
        for table in tables:
            for key in keys:
                if key in table:
                    del table[key]

    def _predict_one(self, x: Mapping[Hashable, float]) -> float:
        return float(self._model.predict_proba_one(x)[True])

    def _input(self, given: Floats, action_id: str) -> dict[Hashable, float]:
        """Name the active features by integers: the context's, then the action's."""
        row = (given if self._scale is None else self._scale.apply(given)).tolist()
        x: dict[Hashable, float] = {j: value for j, value in enumerate(row) if value}
        action = self._actions.get(action_id)
        if action is None:
            return x
        if self.settings.kind == "factorization":
            x[self.dim + action] = 1.0
            return x
        start = self.dim * (1 + action)
        x.update({start + j: value for j, value in enumerate(row) if value})
        return x


def _build(settings: ClickSettings) -> Any:
    if settings.optimizer == "adagrad":
        optimizer: Any = optim.AdaGrad(settings.learning_rate)
    else:
        optimizer = optim.FTRLProximal(alpha=settings.learning_rate, l2=settings.l2)
    intercept = math.log(settings.initial_rate / (1.0 - settings.initial_rate))
    # Column 0 of every vector is 1 and learns; the models' own intercepts stay where they start.
    if settings.kind == "logistic":
        return linear_model.LogisticRegression(
            optimizer=optimizer, l2=settings.l2, intercept_init=intercept, intercept_lr=0.0
        )
    model: Any = FactorizationMachine(
        n_factors=settings.factors,
        weight_optimizer=optimizer,
        latent_optimizer=optim.SGD(settings.learning_rate),
        l2_weight=settings.l2,
        l2_latent=settings.l2,
        intercept=intercept,
        intercept_lr=0.0,
    )
    model.latents = KeyedLatents("click", settings.factors, 0.1)
    return model


def _optimizer(model: Any) -> Any:
    linear = isinstance(model, linear_model.LogisticRegression)
    return model.optimizer if linear else model.weight_optimizer


def _memory(settings: ClickSettings) -> tuple[str, ...]:
    """Name what the optimizer remembers of each weight."""
    return ("g2",) if settings.optimizer == "adagrad" else ("z", "n")
