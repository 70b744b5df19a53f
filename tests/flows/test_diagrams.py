"""The drawings of the flows in docs/diagrams/ show the flows as they are."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_drawings_are_current() -> None:
    checked = subprocess.run(
        [sys.executable, ROOT / "ops" / "ci" / "diagrams.py", "--check"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
