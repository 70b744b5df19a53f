"""What a fault was measured by."""

from dataclasses import dataclass, field


@dataclass
class Bar:
    """A figure and what it must be."""

    name: str
    limit: str
    figure: str
    passed: bool


@dataclass
class Finding:
    """A fault: what was done, what was promised, and what came of it."""

    fault: str
    promise: str
    bars: list[Bar] = field(default_factory=list)
    seconds: float = 0.0
    not_proven: str = ""
    """Why this could not be tried here; empty when it was."""

    def exactly(self, name: str, wanted: object, found: object) -> None:
        """Add a bar that holds only where both are equal."""
        self.bars.append(Bar(name, f"{_shown(wanted)}", f"{_shown(found)}", wanted == found))

    def that(self, name: str, limit: str, figure: str, passed: bool) -> None:
        """Add a bar that was judged already."""
        self.bars.append(Bar(name, limit, figure, passed))


def _shown(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
