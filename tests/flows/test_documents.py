"""What the documents say exists does, and their examples run."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_links_files_commands_and_examples_of_the_documents_are_good() -> None:
    checked = subprocess.run(
        [sys.executable, "ops/ci/docs.py"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
