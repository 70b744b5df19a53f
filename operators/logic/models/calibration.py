"""How good predicted click probabilities are: log-loss, ROC AUC, and calibration by bins."""

import math
from bisect import bisect_right
from collections import deque
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from msgspec import Struct
from river import metrics

EDGES = [0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5]
"""Inner edges of the bins, dense where click rates lie."""

CLIP = 1e-6

_FLUSH = 1024
"""River's window buffers updates until it is asked: it is asked this often."""


class ReliabilityBin(NamedTuple):
    """A row of the reliability table, with Wilson's 95 % interval of the observed rate."""

    low: float
    high: float
    size: int
    predicted: float
    observed: float
    interval: tuple[float, float]


class CalibrationState(Struct):
    """What a snapshot keeps of a :class:`Calibration`; ``recent`` is packed float64."""

    counts: list[int]
    predicted: list[float]
    clicked: list[int]
    loss: float
    recent: bytes
    recent_clicks: bytes


class Calibration:
    """Scores predictions made before their answers were learned (progressive validation).

    Log-loss and the table are over everything seen; ROC AUC is exact over the last ``window``
    predictions (River's ``RollingROCAUC``).
    """

    def __init__(self, window: int = 5000) -> None:
        bins = len(EDGES) + 1
        self.count = 0
        self._counts = [0] * bins
        self._predicted = [0.0] * bins
        self._clicked = [0] * bins
        self._loss = 0.0
        self._window = window
        # River's window gives the exact AUC but not its contents, which a snapshot needs.
        self._recent: deque[tuple[float, bool]] = deque(maxlen=window)
        self._recent_clicks = 0
        self._auc = metrics.RollingROCAUC(window)

    def update(self, predicted: float, clicked: bool) -> float:
        """Take in one prediction and its answer; give its log-loss (nats)."""
        place = bisect_right(EDGES, predicted)
        self.count += 1
        self._counts[place] += 1
        self._predicted[place] += predicted
        self._clicked[place] += clicked
        loss = log_loss(predicted, clicked)
        self._loss += loss
        self._remember(predicted, clicked)
        return loss

    def log_loss(self) -> float:
        """Give the mean log-loss in nats; 0 before the first prediction."""
        return self._loss / max(self.count, 1)

    def auc(self) -> float | None:
        """Give the ROC AUC of the recent window; None while it lacks clicks or misses."""
        if self._recent_clicks in (0, len(self._recent)):
            return None
        return float(self._auc.get())

    def error(self) -> float:
        """Give the expected calibration error: mean |predicted − observed| over the bins."""
        pairs = zip(self._predicted, self._clicked, strict=True)
        return sum(abs(predicted - clicked) for predicted, clicked in pairs) / max(self.count, 1)

    def table(self) -> list[ReliabilityBin]:
        """Give the reliability table, empty bins left out."""
        cells = zip(
            pairwise([0.0, *EDGES, 1.0]), self._counts, self._predicted, self._clicked, strict=True
        )
        return [
            ReliabilityBin(
                low=low,
                high=high,
                size=n,
                predicted=predicted / n,
                observed=clicked / n,
                interval=wilson(clicked, n),
            )
            for (low, high), n, predicted, clicked in cells
            if n
        ]

    def state(self) -> CalibrationState:
        """Give what a snapshot keeps."""
        return CalibrationState(
            counts=self._counts,
            predicted=self._predicted,
            clicked=self._clicked,
            loss=self._loss,
            recent=np.array([predicted for predicted, _ in self._recent]).tobytes(),
            recent_clicks=np.packbits(
                np.array([clicked for _, clicked in self._recent], bool)
            ).tobytes(),
        )

    def restore(self, state: CalibrationState) -> None:
        """Take over a snapshot's state."""
        self.count = sum(state.counts)
        self._counts = list(state.counts)
        self._predicted = list(state.predicted)
        self._clicked = list(state.clicked)
        self._loss = state.loss
        predicted = np.frombuffer(state.recent).tolist()
        clicks = np.unpackbits(np.frombuffer(state.recent_clicks, np.uint8), count=len(predicted))
        self._recent.clear()
        self._recent_clicks = 0
        self._auc = metrics.RollingROCAUC(self._window)
        for value, click in zip(predicted, clicks.astype(bool).tolist(), strict=True):
            self._remember(value, click)

    def _remember(self, predicted: float, clicked: bool) -> None:
        if len(self._recent) == self._window:
            self._recent_clicks -= self._recent[0][1]
        self._recent.append((predicted, clicked))
        self._recent_clicks += clicked
        self._auc.update(clicked, predicted)
        if self.count % _FLUSH == 0:
            self._auc.get()


def log_loss(predicted: float, clicked: bool) -> float:
    """Give the log-loss of one prediction, which is held to [1e-6, 1 − 1e-6].

    >>> round(log_loss(0.5, True), 6)
    0.693147
    """
    p = min(max(predicted, CLIP), 1.0 - CLIP)
    return -math.log(p if clicked else 1.0 - p)


def wilson(successes: int, count: int) -> tuple[float, float]:
    """Give Wilson's 95 % score interval of a rate (Wilson 1927).

    >>> [round(bound, 4) for bound in wilson(5, 100)]
    [0.0215, 0.1118]
    """
    z2 = 1.959963984540054**2
    rate, share = successes / count, z2 / count
    middle = (rate + share / 2) / (1 + share)
    half = (share * rate * (1 - rate) + share**2 / 4) ** 0.5 / (1 + share)
    return max(0.0, middle - half), min(1.0, middle + half)
