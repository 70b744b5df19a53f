"""Watches the calls that Bytewax makes into a dataflow's steps: which is at work, what it raises.

Bytewax passes an exception of a step on as a Rust panic: its text covers the sentence, and among
several processes the exception itself is lost. So it is caught where the step was called.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import datetime
from typing import Any, Protocol

from bytewax.dataflow import Dataflow, Operator
from bytewax.inputs import AbortExecution
from bytewax.operators import StatefulBatchLogic


class StepWatch(Protocol):
    """Is told of every call into a step."""

    def enter(self, step: int) -> None:
        """Note that the step of this number, from 1, begins to work; 0: none does."""

    def failed(self, step_id: str, error: Exception, given: object) -> None:
        """Deal with what a step raised; where it returns, Bytewax gets the exception.

        ``given`` are the arguments of the call.
        """

    def dropped(self, step_id: str, error: Exception) -> None:
        """Note that a step that works piece by piece has dropped a piece."""


def watch_steps(flow: Dataflow, watch: StepWatch, isolate: Collection[str] = ()) -> list[str]:
    """Let the watch see every call into the steps of a dataflow; give their ids by number, from 1.

    The dataflow is changed in place. The steps in ``isolate`` get what they are given piece by
    piece; a piece that one fails on is dropped, and the step is as it was before.
    """
    steps = list(_leaves(flow.substeps))
    for number, step in enumerate(steps, start=1):
        watched = _Watched(step.step_id, number, watch)
        pieces = _Pieces(step.step_id, watch) if step.step_id in isolate else None
        _wrap(step, watched, pieces)
    return [step.step_id for step in steps]


def _leaves(steps: Iterable[Operator]) -> Iterator[Operator]:
    for step in steps:
        if step.substeps:
            yield from _leaves(step.substeps)
        else:
            yield step


def _wrap(step: Operator, watched: "_Watched", pieces: "_Pieces | None") -> None:
    def replace(name: str, make: Callable[[Any], Any]) -> None:
        value = getattr(step, name, None)
        if value is not None:
            object.__setattr__(step, name, make(value))  # an operator is a frozen dataclass

    if pieces is not None:
        replace("mapper", pieces.mapper)
        replace("builder", pieces.builder)
        replace("sink", pieces.sink)
    for name in ("mapper", "predicate", "inspector"):
        replace(name, watched.work)
    replace("builder", watched.builder)
    replace("source", watched.source_or_sink)
    replace("sink", watched.source_or_sink)


_BUILDS = ("build_part", "build")
_WORKS = ("next_batch", "write_batch", "snapshot", "on_batch", "on_notify", "on_eof")
_LOOK_UPS = ("list_parts", "part_fn", "next_awake", "notify_at")
"""Calls that only ask for something: cheap, and no step is at work."""


def _run(result: Any) -> Any:
    """Run what a call gives lazily: a logic gives its items beside what becomes of its key."""
    if type(result) is tuple:
        return tuple(map(_run, result))
    return list(result) if hasattr(result, "__next__") else result


class _Watched:
    """Wraps what a step hands to Bytewax so that the watch sees its calls."""

    def __init__(self, step_id: str, number: int, watch: StepWatch) -> None:
        self._step_id = step_id
        self._number = number
        self._watch = watch

    def work(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a function; an iterator that it gives is run to its end within the call."""
        number, enter, look_up = self._number, self._watch.enter, self.look_up(call)

        def watched(*arguments: Any) -> Any:
            enter(number)
            try:
                return look_up(*arguments)
            finally:
                enter(0)

        return watched

    def look_up(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a function that only asks for something."""
        step_id, failed = self._step_id, self._watch.failed

        def caught(*arguments: Any) -> Any:
            try:
                return _run(call(*arguments))
            except (StopIteration, AbortExecution):  # a source that has ended
                raise
            except Exception as error:
                failed(step_id, error, arguments)
                raise

        return caught

    def builder(self, build: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a function that makes an object on whose methods Bytewax calls."""
        return self.work(lambda *given: self._object(build(*given)))

    def source_or_sink(self, made: Any) -> Any:
        """Wrap the methods of a source or a sink, and of the partitions that it builds."""
        for name in _BUILDS:
            if hasattr(made, name):
                setattr(made, name, self.builder(getattr(made, name)))
        return self._object(made)

    def _object(self, made: Any) -> Any:
        for names, wrap in ((_WORKS, self.work), (_LOOK_UPS, self.look_up)):
            for name in names:
                if hasattr(made, name):
                    setattr(made, name, wrap(getattr(made, name)))
        return made


class _Pieces:
    """Gives a step what it gets piece by piece, and drops a piece that it fails on."""

    def __init__(self, step_id: str, watch: StepWatch) -> None:
        self._step_id = step_id
        self._watch = watch

    def mapper(self, call: Callable[[list[Any]], Iterable[Any]]) -> Callable[[list[Any]], Any]:
        """Map each item alone."""

        def each(items: list[Any]) -> list[Any]:
            out: list[Any] = []
            for item in items:
                try:
                    out += call([item])
                except Exception as error:
                    self._watch.dropped(self._step_id, error)
            return out

        return each

    def builder(self, build: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Keep what each value finds, so that a step can be rebuilt without the value."""
        return lambda state: _Restorable(build, build(state), self._drop)

    def sink(self, made: Any) -> Any:
        """Write each value alone, and where it is a list of messages that fails, each message."""
        name = next(name for name in _BUILDS if hasattr(made, name))
        build = getattr(made, name)

        def patient(*given: Any) -> Any:
            part = build(*given)
            write = part.write_batch

            def write_each(values: list[Any]) -> None:
                for value in values:
                    try:
                        write([value])
                    except Exception as error:
                        if not isinstance(value, list) or len(value) < 2:
                            self._drop(error)
                        else:
                            write_each([[message] for message in value])

            part.write_batch = write_each
            return part

        setattr(made, name, patient)
        return made

    def _drop(self, error: Exception) -> None:
        self._watch.dropped(self._step_id, error)


class _Restorable(StatefulBatchLogic[Any, Any, Any]):
    """A step's logic that forgets a value which it fails on."""

    def __init__(
        self, build: Callable[[Any], Any], logic: Any, drop: Callable[[Exception], None]
    ) -> None:
        self._build = build
        self._logic = logic
        self._drop = drop

    def on_batch(self, values: list[Any]) -> tuple[list[Any], bool]:
        out: list[Any] = []
        discard = False
        for value in values:
            before = self._state()
            try:
                given, discard = self._logic.on_batch([value])
                out += given
            except Exception as error:
                self._logic = self._build(before)
                self._drop(error)
        return out, discard

    def on_notify(self) -> tuple[Iterable[Any], bool]:
        given: tuple[Iterable[Any], bool] = self._logic.on_notify()
        return given

    def on_eof(self) -> tuple[Iterable[Any], bool]:
        given: tuple[Iterable[Any], bool] = self._logic.on_eof()
        return given

    def notify_at(self) -> datetime | None:
        at: datetime | None = self._logic.notify_at()
        return at

    def snapshot(self) -> Any:
        return self._logic.snapshot()

    def _state(self) -> Any:
        """Take a snapshot; a logic that has not had anything yet has none."""
        try:
            return self._logic.snapshot()
        except AssertionError:
            return None
