"""A flow loads the kernels that its catalog needs, before a request does."""

import subprocess
import sys

STEPS = """
import sys, threading
from operators.decide.kernel_loading import KernelLoading
from schemas.catalog import AutoFeatures, FeatureSpec, PolicySettings
from tests.support.records import slot

def loaded():
    for thread in threading.enumerate():
        if thread.name == "kernels":
            thread.join()
    return [name for name in ("contenders", "crossed_scores")
            if f"operators.logic.kernels.{name}" in sys.modules]

loading = KernelLoading()
loading.take_in([slot("home")])
print(*loaded())
auto = FeatureSpec(auto=AutoFeatures())
loading.take_in([slot("feed", policy=PolicySettings(kind="shared"), features=auto)])
print(*loaded())
"""


def test_a_shared_models_kernels_are_loaded_with_its_first_slot() -> None:
    said = subprocess.run(
        [sys.executable, "-c", STEPS], check=True, capture_output=True, text=True
    ).stdout
    assert said.splitlines() == ["contenders", "contenders crossed_scores"]
