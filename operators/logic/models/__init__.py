"""Order-dependent models (River) that learn from settled outcomes in a canonical order."""

from operators.logic.models.calibration import Calibration, CalibrationState, ReliabilityBin
from operators.logic.models.click import ClickModel, ClickSettings
from operators.logic.models.drift import Drift, DriftState
from operators.logic.models.factors import ChangedFactors, FactorModel, FactorSettings
from operators.logic.models.order import CanonicalOrder

__all__ = [
    "Calibration",
    "CalibrationState",
    "CanonicalOrder",
    "ChangedFactors",
    "ClickModel",
    "ClickSettings",
    "Drift",
    "DriftState",
    "FactorModel",
    "FactorSettings",
    "ReliabilityBin",
]
