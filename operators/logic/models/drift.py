"""Whether a model has stopped fitting: ADWIN on its errors."""

from msgspec import Struct
from river import drift
from river.__version__ import __version__ as river_version


class DriftState(Struct):
    """What a snapshot keeps of a :class:`Drift`: River's own packed window."""

    window: bytes
    detected: bool
    detections: int
    seen: int
    last: int | None
    river: str


class Drift:
    """Watches a stream of errors in [0, 1] for a rise of their mean.

    ADWIN (Bifet and Gavaldà 2007) raises a false alarm with a probability of at most ``delta``
    for each check. It finds falls, too: those are the model learning, and are not counted.
    ``detections`` counts rises, ``last`` is the number of errors seen at the newest one.
    """

    def __init__(self, delta: float = 0.002) -> None:
        self._delta = delta
        self._detector = drift.ADWIN(delta=delta)
        self.detections = 0
        self.seen = 0
        self.last: int | None = None

    @property
    def mean(self) -> float:
        """Give the mean error since the last change."""
        return float(self._detector.estimation)

    def update(self, error: float) -> bool:
        """Take in one error; tell whether the mean has just been found to have risen."""
        before = self.mean
        self._detector.update(error)
        self.seen += 1
        if not self._detector.drift_detected or self.mean <= before:
            return False
        self.detections += 1
        self.last = self.seen
        return True

    def state(self) -> DriftState:
        """Give what a snapshot keeps."""
        return DriftState(
            window=self._detector._helper.__getstate__(),
            detected=bool(self._detector.drift_detected),
            detections=self.detections,
            seen=self.seen,
            last=self.last,
            river=river_version,
        )

    def restore(self, state: DriftState) -> None:
        """Take over a snapshot's state; another River's window starts empty instead."""
        self.detections, self.seen, self.last = state.detections, state.seen, state.last
        self._detector = drift.ADWIN(delta=self._delta)
        if state.river == river_version:
            self._detector._helper.__setstate__(state.window)
            self._detector._drift_detected = state.detected
