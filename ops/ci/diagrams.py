"""Draw each dataflow as Mermaid into docs/diagrams/, or check that they are drawn as they are."""

import sys
from pathlib import Path

from bytewax.visualize import to_mermaid
from prometheus_client import CollectorRegistry

from schemas.settings import load

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "diagrams"
sys.path.insert(0, str(ROOT))

from flows.registry import FLOWS  # noqa: E402 (found through the line above)
from flows.runtime.clock import system_clock  # noqa: E402
from operators.io.metrics.root import Metrics  # noqa: E402

SETTINGS = load({}, secret="a drawing needs no secret")


def main(check: bool) -> int:
    """Write the drawings; with ``check`` name those that are out of date, and give the status."""
    stale = 0
    for name, flow in FLOWS.items():
        path, drawn = (
            FOLDER / f"{name}.mmd",
            to_mermaid(flow.dataflow(SETTINGS, system_clock, Metrics(CollectorRegistry()))) + "\n",
        )
        if not path.exists() or path.read_text() != drawn:
            stale += 1
            if check:
                print(f"{path.relative_to(ROOT)} is out of date: run make diagrams")
            else:
                path.write_text(drawn)
                print(f"drew {path.relative_to(ROOT)}")
    return int(check and stale > 0)


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
