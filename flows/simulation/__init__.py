"""Closed-loop visitors: they ask, they see, they click, and the truth about them is known."""

from flows.simulation.injection import Injection
from flows.simulation.malformed import KINDS, malformed
from flows.simulation.simulator import Simulator
from flows.simulation.tally import SecondOfTraffic, SimulatorReport

__all__ = [
    "KINDS",
    "Injection",
    "SecondOfTraffic",
    "Simulator",
    "SimulatorReport",
    "malformed",
]
