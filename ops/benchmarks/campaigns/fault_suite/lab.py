"""What every fault of the suite is given."""

from dataclasses import dataclass, field
from typing import Any

from flows.devkit.embedded import Embedded
from tests.support.stage import Stage


@dataclass(frozen=True)
class Lab:
    """The campaign's parts, and how much of everything a fault is given.

    ``rate`` is requests per second, ``seconds`` how long the traffic before and after a fault is;
    ``stream_rate`` is that of the ``requests`` in which the flow is killed so many times.
    """

    parts: Embedded
    rate: float
    seconds: float
    requests: int
    stream_rate: float
    kills: int
    writer_kills: int
    backlog: int
    seed: int
    _stages: list[Stage] = field(default_factory=list)

    @property
    def portion(self) -> int:
        """The number of decisions before and after a fault."""
        return int(self.rate * self.seconds)

    def stage(self, name: str, **changes: Any) -> Stage:
        """Make a deployment of its own."""
        stage = Stage(self.parts, name, **changes)
        self._stages.append(stage)
        return stage

    def close(self) -> None:
        """End what the last fault left running."""
        for stage in self._stages:
            stage.close()
        self._stages.clear()
