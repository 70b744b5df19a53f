"""The calls that Bytewax makes into a dataflow's steps, and what they raise.

Bytewax passes an exception of a step on as a Rust panic: its text covers the sentence, and among
several processes the exception itself is lost. So it is caught where the step was called.
"""

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

from bytewax.dataflow import Dataflow, Operator
from bytewax.inputs import AbortExecution

OnError = Callable[[str, Exception], None]
"""Called with the id of a step and what it raised; where it returns, Bytewax gets the exception."""

_FUNCTIONS = ("mapper", "predicate", "inspector")
_BUILDERS = ("builder",)
_SOURCE_OR_SINK = ("source", "sink")
_BUILDS = ("build_part", "build")
_METHODS = (
    "list_parts", "part_fn", "next_batch", "next_awake", "write_batch", "snapshot",
    "on_batch", "on_notify", "on_eof", "notify_at",
)  # fmt: skip


def catch_errors(flow: Dataflow, on_error: OnError) -> None:
    """Call ``on_error`` with what a step of the dataflow raises, before Bytewax gets it.

    The dataflow is changed in place. Costs a call of a Python function per batch and step.
    """
    for step in _leaves(flow.substeps):
        caught = _Caught(step.step_id, on_error)
        for name in _FUNCTIONS:
            _replace(step, name, caught.function)
        for name in _BUILDERS:
            _replace(step, name, caught.builder)
        for name in _SOURCE_OR_SINK:
            _replace(step, name, caught.source_or_sink)


def _leaves(steps: Iterable[Operator]) -> Iterable[Operator]:
    for step in steps:
        if step.substeps:
            yield from _leaves(step.substeps)
        else:
            yield step


def _replace(step: Operator, name: str, make: Callable[[Any], Any]) -> None:
    value = getattr(step, name, None)
    if value is not None:
        object.__setattr__(step, name, make(value))  # an operator is a frozen dataclass


def _run(result: Any) -> Any:
    """Run what a call gives lazily: a logic gives its items beside what becomes of its key."""
    if type(result) is tuple:
        return tuple(map(_run, result))
    return list(result) if hasattr(result, "__next__") else result


class _Caught:
    """Wraps what a step hands to Bytewax."""

    def __init__(self, step_id: str, on_error: OnError) -> None:
        self._step_id = step_id
        self._on_error = on_error

    def function(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a function; an iterator that it gives is run to its end within the call."""
        step_id, on_error = self._step_id, self._on_error

        @wraps(call)
        def caught(*arguments: Any) -> Any:
            try:
                return _run(call(*arguments))
            except (StopIteration, AbortExecution):  # a source that has ended
                raise
            except Exception as error:
                on_error(step_id, error)
                raise

        return caught

    def builder(self, build: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a function that makes an object on whose methods Bytewax calls."""
        return self.function(lambda *arguments: self._object(build(*arguments)))

    def source_or_sink(self, made: Any) -> Any:
        """Wrap the methods of a source or a sink, and of the partitions that it builds."""
        for name in _BUILDS:
            if hasattr(made, name):
                setattr(made, name, self.builder(getattr(made, name)))
        return self._object(made)

    def _object(self, made: Any) -> Any:
        for name in _METHODS:
            if hasattr(made, name):
                setattr(made, name, self.function(getattr(made, name)))
        return made
