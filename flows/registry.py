"""The one list of flows: what each is called, reads and writes, and which module builds it.

It is light: a flow's module, which Bytewax and numerics come with, is imported when it is needed.
By agreement the flow NAME lies in ``flows/NAME.py``, which has what :class:`FlowModule` says.
"""

from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, Self, cast

from schemas.state import StateFormat
from schemas.topics import GROUP, STORED, Topic

if TYPE_CHECKING:  # Bytewax takes its time
    from bytewax.dataflow import Dataflow

    from flows.wiring import Wiring
    from operators.io.metrics.root import Metrics
    from operators.io.releases import Releases
    from operators.logic.placement import WorkerPlace
    from schemas.clock import Clock
    from schemas.settings import Settings

INPUT, STATE, OUTPUT = "input", "stateful_batch", "output"
"""The kinds of Bytewax operator that keep state."""


class Step(StrEnum):
    """The id of a step that keeps state, and its kind: the base of every flow's ``Steps``.

    An id is the names of the flow and of the operators around the step, joined by dots.
    ``state_format`` is that of the snapshots of a ``STATE`` step, ``older`` are versions that it
    reads, too: a start checks them first.
    """

    kind: str
    state_format: StateFormat | None
    older: tuple[int, ...]

    def __new__(
        cls,
        step_id: str,
        kind: str,
        state_format: StateFormat | None = None,
        older: tuple[int, ...] = (),
    ) -> Self:
        """Make a member from its id, its kind and the formats of its snapshots."""
        step = str.__new__(cls, step_id)
        step._value_ = step_id
        step.kind = kind
        step.state_format = state_format
        step.older = older
        return step


class FlowModule(Protocol):
    """What the module of a flow has beside ``build``, which takes any sources and sinks."""

    Steps: type[Step]
    """The steps that keep state."""

    OFFSETS: Step
    """The one of them whose snapshots hold the offsets that the flow resumes from."""

    def wire(self, wiring: "Wiring") -> "Dataflow":
        """Build the dataflow on the sources and sinks that the wiring makes."""


@dataclass(frozen=True, kw_only=True)
class Flow:
    """A dataflow that can be run.

    ``help`` is what the command line says of it. Its recovery store keeps the offsets of the
    topics in ``resumes``; those in ``rereads`` it reads from their beginning at every start.
    ``caches`` says whether it writes to Redis, ``stores`` whether it writes to the durable store.
    """

    name: str
    help: str
    resumes: tuple[Topic, ...]
    rereads: tuple[Topic, ...] = ()
    writes: tuple[Topic, ...] = ()
    caches: bool = False
    stores: bool = False

    @property
    def reads(self) -> tuple[Topic, ...]:
        """The topics that it reads."""
        return (*self.rereads, *self.resumes)

    @property
    def topics(self) -> tuple[Topic, ...]:
        """The topics that it needs: those that it reads, and then those that it only writes."""
        return tuple(dict.fromkeys((*self.reads, *self.writes)))

    @property
    def offsets_step(self) -> Step:
        """The step whose snapshots hold the offsets that it resumes from."""
        return self._module.OFFSETS

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps that keep state."""
        return tuple(self._module.Steps)

    def dataflow(
        self,
        settings: "Settings",
        clock: "Clock",
        metrics: "Metrics",
        place: "WorkerPlace | None" = None,
        releases: "Releases | None" = None,
        executions: int = 0,
    ) -> "Dataflow":
        """Build it on the sources and sinks that the settings describe, for one worker process.

        ``executions`` counts the executions on its recovery store before this one.
        """
        from flows.wiring import Wiring
        from operators.logic.placement import ALONE

        wiring = Wiring(settings, clock, metrics, place or ALONE, releases, executions)
        return self._module.wire(wiring)

    @property
    def _module(self) -> FlowModule:
        return cast(FlowModule, import_module(f"flows.{self.name}"))


PERSONALIZE = Flow(
    name="personalize",
    help="decide and learn",
    resumes=GROUP,
    rereads=(Topic.CATALOG,),
    writes=(
        Topic.DECISIONS,
        Topic.OUTCOMES,
        Topic.PROFILES,
        Topic.POLICIES,
        Topic.CHECKPOINTS,
        Topic.DEAD_LETTERS,
    ),
    caches=True,
)

PERSIST = Flow(
    name="persist", help="write the results to the durable store", resumes=STORED, stores=True
)

FLOWS: dict[str, Flow] = {flow.name: flow for flow in (PERSONALIZE, PERSIST)}
"""Every flow by its name."""
