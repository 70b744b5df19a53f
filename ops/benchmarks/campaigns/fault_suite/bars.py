"""What a fault was measured by."""

from dataclasses import dataclass, field

from ops.benchmarks.reporting.judged import JudgedBar


@dataclass
class Finding:
    """A fault: what was done, what was promised, and what came of it."""

    fault: str
    promise: str
    bars: list[JudgedBar] = field(default_factory=list)
    seconds: float = 0.0
    not_proven: str = ""
    """Why this could not be tried here; empty when it was."""

    def exactly(self, name: str, wanted: object, found: object) -> None:
        """Add a bar that holds only where both are equal."""
        self.bars.append(JudgedBar(name, f"{_shown(wanted)}", f"{_shown(found)}", wanted == found))

    def that(self, name: str, limit: str, figure: str, passed: bool) -> None:
        """Add a bar that was judged already."""
        self.bars.append(JudgedBar(name, limit, figure, passed))


def _shown(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
