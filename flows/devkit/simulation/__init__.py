"""Closed-loop visitors: they ask, they see, they click, and the truth about them is known."""

from flows.devkit.simulation.injection import Injection
from flows.devkit.simulation.malformed import KINDS, malformed
from flows.devkit.simulation.simulator import Simulator
from flows.devkit.simulation.tally import SecondOfTraffic, SimulatorReport

__all__ = [
    "KINDS",
    "Injection",
    "SecondOfTraffic",
    "Simulator",
    "SimulatorReport",
    "malformed",
]
