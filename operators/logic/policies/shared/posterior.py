"""The posterior of a shared model: scores of candidates, and how they vary together."""

from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from operators.logic.features.crossing import Operands, crossed
from operators.logic.features.rows import Rows
from operators.logic.policies.base import Floats, PolicyError, Weights
from operators.logic.policies.joint_scores import JointScores
from operators.logic.policies.linear_posterior import logit_normal
from operators.logic.policies.packing import pack_array, unpack_array
from operators.logic.policies.tally import observed_mean
from schemas.results import ActionSummary
from schemas.state import pack, unpack

_VERSION = 1

FACTOR_WIDTH = 32
"""Columns of the factor where coefficients are independent; relative errors of covariances are
about 0.18 of the product of two deviations."""


class Intercepts(Struct, frozen=True):
    """What is known of actions' own intercepts: of A actions means, variances, counts, rewards.

    ``shift`` [A, d], where there is one, is what an intercept gives way by when columns move.
    """

    ids: tuple[str, ...]
    mean: Floats
    variance: Floats
    counts: Floats
    rewards: Floats
    unseen: float
    shift: Floats | None = None


class SharedPosteriorState(Struct):
    """The written form of a :class:`SharedPosterior`; arrays as raw little-endian bytes."""

    link: str
    alpha: float
    width: int
    unseen: float
    columns: bytes
    table: bytes
    ids: list[str]
    intercepts: bytes
    unseen_action: float
    root: bytes
    shift: bytes


class SharedPosterior:
    """Scores rows by their columns' coefficients and their actions' own intercepts.

    Parameters
    ----------
    link
        ``logistic`` or ``gaussian``.
    alpha
        The factor on widths when drawing.
    width
        How many columns are told apart, a power of two.
    columns : array [U]
    coefficients : array [U, 2]
        Mean and standard deviation of each.
    unseen
        The standard deviation of any other column.
    intercepts
        What is known of actions.
    root : array [width, width] or None
        The covariance of all columns is ``root.T @ root``, where it is known.
    """

    kind = "shared"

    def __init__(
        self,
        link: str,
        alpha: float,
        width: int,
        columns: NDArray[np.int64],
        coefficients: Floats,
        unseen: float,
        intercepts: Intercepts,
        root: Floats | None = None,
    ) -> None:
        if not (np.isfinite(coefficients).all() and np.isfinite(intercepts.mean).all()):
            raise PolicyError("the posterior is not finite: check the slot's features and rewards")
        self.link = link
        self.alpha = alpha
        self.action_ids = intercepts.ids
        self._columns = columns
        self._unseen = unseen
        self._root = root
        self._intercepts = intercepts
        self._rows_of: Mapping[str, int] = {a: row for row, a in enumerate(intercepts.ids)}
        self._table = np.zeros((width, 2), dtype=np.float32)
        self._table[:, 1] = unseen
        self._table[columns] = coefficients

    def joint(self, operands: Operands, action_ids: Sequence[str]) -> JointScores:
        """Give the joint posterior that an action is drawn from: widths are scaled by ``alpha``."""
        return self.score_crossed(operands, action_ids).scaled(self.alpha)

    def score_crossed(self, operands: Operands, action_ids: Sequence[str]) -> JointScores:
        """Give the joint posterior of the scores of all candidates of some decisions.

        A decision's are what they are alone, to the last bit. Means are those of :meth:`score` with
        the crossed rows. Deviations are those of products that share no column: what a feature of
        an action is worth in a context varies as one for all candidates that have it.
        """
        if self._root is not None:
            of_rows = self.score(crossed(operands), action_ids)
            return JointScores(of_rows.mean, of_rows.factor, of_rows.own, operands.starts)
        from operators.logic.kernels.crossed_scores import crossed_scores

        own_mean, own, _ = self._own(len(operands.which), action_ids)
        mean = np.zeros(len(operands.which))
        factor = np.zeros((len(operands.which), FACTOR_WIDTH))
        crossed_scores(
            operands.contexts,
            operands.actions,
            operands.starts,
            operands.which,
            operands.blocks,
            operands.whole,
            operands.counted,
            operands.bits,
            operands.context_alone,
            len(self._table) - 1,
            self._table,
            mean,
            factor,
            own,
        )
        return JointScores(mean + own_mean, factor, own, operands.starts)

    def score(self, rows: Rows, action_ids: Sequence[str]) -> JointScores:
        """Give the joint posterior of the scores of K rows, each of the action beside it."""
        own_mean, own, places = self._own(len(rows), action_ids)
        if self._root is not None:
            return self._score_exactly(rows, places, own_mean, own)
        from operators.logic.kernels.shared_rows import score_rows

        mean, factor = np.zeros(len(rows)), np.zeros((len(rows), FACTOR_WIDTH))
        score_rows(
            rows.indptr,
            rows.indices,
            rows.values,
            len(self._table) - 1,
            self._table,
            mean,
            factor,
        )
        return JointScores(mean + own_mean, factor, own)

    def _own(
        self, count: int, action_ids: Sequence[str]
    ) -> tuple[Floats, Floats, NDArray[np.intp]]:
        """Give mean and variance of each action's own intercept, and its place among the known."""
        if count != len(action_ids):
            raise PolicyError(f"{count} rows were given for {len(action_ids)} actions")
        known = self._intercepts
        places = self.columns(action_ids)
        seen = places >= 0
        mean, variance = np.zeros(count), np.full(count, known.unseen)
        mean[seen], variance[seen] = known.mean[places[seen]], known.variance[places[seen]]
        return mean, variance, places

    def _score_exactly(
        self, rows: Rows, places: NDArray[np.intp], own_mean: Floats, own: Floats
    ) -> JointScores:
        from operators.logic.kernels.shared_rows import dense_rows

        assert self._root is not None
        x = np.zeros((len(rows), len(self._table)))
        dense_rows(rows.indptr, rows.indices, rows.values, len(self._table) - 1, x)
        mean = x @ self._table[:, 0].astype(np.float64)
        shift = self._intercepts.shift
        if shift is not None and len(shift):
            x = np.where((places >= 0)[:, None], x - shift[places], x)
        return JointScores(mean + own_mean, x @ self._root.T, own)

    def columns(self, ids: Sequence[str]) -> NDArray[np.intp]:
        """Give the place of each id among ``action_ids``; -1 for one that is not known."""
        return np.array([self._rows_of.get(each, -1) for each in ids], dtype=np.intp)

    def weigh(
        self,
        x: Floats,  # noqa: ARG002
        columns: NDArray[np.intp] | None = None,  # noqa: ARG002
        mask: NDArray[np.bool_] | None = None,  # noqa: ARG002
    ) -> Weights:
        """Refuse to weigh actions by declared features: :meth:`joint` scores rows."""
        raise PolicyError("policy 'shared' scores rows of features, which are not declared")

    def summary(self, context: Floats | None = None) -> list[ActionSummary]:  # noqa: ARG002
        """Describe each known action by what was observed.

        What is believed of its reward depends on its features, which are not known here;
        ``context``, of declared ones, plays no part.
        """
        known = self._intercepts
        counts, rewards = known.counts.tolist(), known.rewards.tolist()
        return [
            ActionSummary(
                action_id=action_id,
                count=count,
                reward=reward,
                mean=None,
                deviation=None,
                observed=observed_mean(reward, count),
            )
            for action_id, count, reward in zip(known.ids, counts, rewards, strict=True)
        ]

    def believed(self, scores: JointScores) -> tuple[Floats, Floats]:
        """Give mean and deviation [K] of the rewards in [0, 1] that unscaled scores stand for."""
        if self.link == "gaussian":
            return scores.mean, scores.width
        return logit_normal(scores.mean, scores.width)

    def dump(self) -> bytes:
        """Write the posterior."""
        known = self._intercepts
        numbers = np.array([known.mean, known.variance, known.counts, known.rewards])
        return pack(
            "posterior-shared",
            _VERSION,
            SharedPosteriorState(
                link=self.link,
                alpha=self.alpha,
                width=len(self._table),
                unseen=self._unseen,
                columns=self._columns.astype("<i4").tobytes(),
                table=self._table[self._columns].astype("<f4").tobytes(),
                ids=list(known.ids),
                intercepts=pack_array(numbers),
                unseen_action=known.unseen,
                root=b"" if self._root is None else pack_array(self._root),
                shift=b"" if known.shift is None else pack_array(known.shift),
            ),
        )

    @classmethod
    def load(cls, snapshot: bytes) -> Self:
        """Read a posterior."""
        state = unpack("posterior-shared", _VERSION, SharedPosteriorState, snapshot)
        a, d = len(state.ids), state.width
        mean, variance, counts, rewards = unpack_array(state.intercepts, (4, a))
        intercepts = Intercepts(
            ids=tuple(state.ids),
            mean=mean,
            variance=variance,
            counts=counts,
            rewards=rewards,
            unseen=state.unseen_action,
            shift=unpack_array(state.shift, (a, d)) if state.root else None,
        )
        columns = np.frombuffer(state.columns, dtype="<i4").astype(np.int64)
        table = np.frombuffer(state.table, dtype="<f4").reshape(-1, 2).astype(np.float64)
        root = unpack_array(state.root, (d, d)) if state.root else None
        return cls(state.link, state.alpha, d, columns, table, state.unseen, intercepts, root)
