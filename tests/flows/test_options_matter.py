"""Every option of every command changes what it does, whichever other is given, or is refused.

What a command does is what it asks of the functions below it, and what it prints. Those functions
are stand-ins that note how they are called.
"""

import argparse
import itertools
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from datetime import UTC, datetime
from functools import cache
from importlib import import_module
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest

from flows.cli.arguments import OptionError, count, natural, positive, share, time
from flows.cli.main import COMMANDS, parser
from operators.logic.catalog import CatalogHistory
from operators.logic.publication import Publication
from schemas.settings import load

SETTINGS = load({}, secret="sixteen letters!", recovery="kept")
SAMPLES: Mapping[Any, str] = {
    positive: "7.5",
    count: "3",
    natural: "4",
    share: "0.5",
    time: "2026-02-01T00:00:00Z",
    Path: "somewhere",
    str: "named",
    None: "named",
}
"""A value that is nobody's default, by what reads it."""

NOW = datetime(2026, 3, 1, tzinfo=UTC)
TOPIC = SimpleNamespace(
    history=CatalogHistory(), known_at=lambda at: at, unusable=[], is_whole=True
)
PUBLICATION = Publication(changes=[], records=[], outdated=[])
REPORT = SimpleNamespace(
    unanswered=0, recounted=True, dead_letters=0, holds=True, describe=list, injected=None,
    articles=None,
)  # fmt: skip
LOG = SimpleNamespace(rows=[], policy="bts")

BELOW: Mapping[str, Mapping[str, Any]] = {
    "demo": {"flows.devkit.demo.demo": 0},
    "run": {
        "flows.runtime.preflight.check_surroundings": None,
        "flows.runtime.warm_start.before_run": None,
        "flows.runtime.runner.run": None,
        "flows.runtime.runner.supervise": None,
    },
    "simulate": {
        "flows.devkit.demo_catalog.demo_catalog": [],
        "flows.runtime.catalog_topic.publish_entries": None,
        "flows.devkit.simulation.Simulator": None,
        "flows.devkit.simulate.simulate": REPORT,
        "flows.devkit.simulate.describe": ["described"],
        "schemas.codec.encode": b"encoded",
    },
    "replay": {
        "flows.cli.replay.read_open_bandit": LOG,
        "flows.cli.replay.clicks_by_item": {},
        "flows.cli.replay.replay": REPORT,
        "flows.cli.replay.show": None,
        "msgspec.json.encode": b"encoded",
    },
    "topics": {
        "flows.cli.topics.create_topics": [],
        "flows.cli.topics.timestamp_types": {},
        "flows.cli.topics.compacted_topics": [],
        "flows.cli.topics.expiring_topics": {},
    },
    "catalog": {
        "flows.cli.catalog.system_clock": NOW,
        "flows.cli.catalog.read_catalog": ([], []),
        "flows.cli.catalog.read_topic": TOPIC,
        "flows.cli.catalog.publish": lambda _, clock, plan, topic: plan(topic) and PUBLICATION,
        "flows.cli.catalog.check_room": CatalogHistory(),
        "flows.cli.catalog.plan_file": PUBLICATION,
        "flows.cli.catalog.plan_rollback": PUBLICATION,
        "flows.cli.catalog.timeline": [],
        "flows.cli.catalog.held_entries": [],
        "flows.cli.catalog._with_neighbours": [],
        "flows.devkit.demo_catalog.demo_catalog": [],
    },
    "store": {"flows.cli.store.migrate_lines": [], "flows.cli.store.status_lines": []},
    "inspect": {
        "flows.cli.inspect.open_made": SimpleNamespace(close=lambda: None),
        "flows.cli.inspect._THINGS": None,
    },
    "state": {
        "flows.cli.state.system_clock": NOW,
        "flows.cli.state.check_stopped": None,
        "flows.cli.state.states_of": {},
        "flows.cli.state.digest": "digest",
        "flows.cli.state.dump": [],
        "flows.cli.state.lower_watermarks": [],
    },
    "verify": {},
    "verify-replay": {
        "flows.cli.verify_replay.record_log": 1,
        "flows.devkit.verify_replay.simulated_log.simulated_log": [],
        "flows.devkit.verify_replay.verify_replay.recorded_log": (SETTINGS, []),
        "flows.devkit.verify_replay.verify_replay.services": None,
        "flows.devkit.verify_replay.verify_replay.verify_replay": REPORT,
        "flows.devkit.verify_replay.verify_replay.show": None,
        "msgspec.json.encode": b"encoded",
    },
}
"""What each command is made of, and what the stand-in gives."""

ALONE = {"verify"}
"""Commands without options."""


def pages(page: argparse.ArgumentParser, words: Sequence[str]) -> Iterator[tuple[list[str], Any]]:
    """Give each way to call a command, with a value for each of its operands, and its page."""
    for action in page._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                yield from pages(inner, [*words, name])
            return
    operands: list[list[str]] = []
    for action in page._actions:
        if not action.option_strings:
            values = [*action.choices] if action.choices else [SAMPLES[action.type]]
            operands.append([*([""] if action.nargs == "?" else []), *values])
    for chosen in itertools.product(*operands):
        yield [*words, *(word for word in chosen if word)], page


def options_of(page: argparse.ArgumentParser) -> dict[str, list[str]]:
    """Name the options of a page, each with the words that give it another value."""
    found = {}
    for action in page._actions:
        if not action.option_strings or isinstance(action, argparse._HelpAction):
            continue
        words = [action.option_strings[-1]]
        if action.nargs != 0:
            others = [c for c in action.choices or () if c != action.default]
            words.append(others[-1] if others else SAMPLES[action.type])
        found[action.dest] = words
    return found


def called() -> dict[str, list[tuple[list[str], Any]]]:
    """Every way to call every command, without options."""
    return {
        name: list(pages(parser(name)._subparsers._group_actions[0].choices[name], [name]))  # type: ignore[union-attr,index]
        for name in COMMANDS
    }


parser_of = cache(parser)


@contextmanager
def stand_ins(command: str, calls: list[Any]) -> Iterator[None]:
    """Put stand-ins below a command, which note how they are called."""

    def standing(name: str, gives: Any) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            noted(calls, name, arguments, named)
            return gives(*arguments, **named) if callable(gives) else gives

        return call

    with ExitStack() as stack:
        for name, gives in BELOW[command].items():
            module, _, attribute = name.rpartition(".")
            import_module(module)
            stand_in: Any = standing(name, gives)
            if attribute == "_THINGS":
                kinds = ("slot", "subject", "decision", "features")
                stand_in = {kind: (standing(kind, {}), "", "") for kind in kinds}
            if attribute == "services":
                stand_in = contextmanager(lambda *a: iter([noted(calls, *a)]))
            stack.enter_context(patch(name, stand_in))
        module_ = import_module(f"flows.cli.{command.replace('-', '_')}")
        if hasattr(module_, "load"):
            stack.enter_context(patch.object(module_, "load", lambda *_, **__: SETTINGS))
        yield


def noted(calls: list[Any], *what: Any) -> tuple[dict[str, Any], Any]:
    """Note what is said of a call, but for addresses and the names of temporary folders."""
    calls.append(re.sub(r" at 0x[0-9a-f]+|/banditflow-\w+", "", repr(what)))
    return {}, None


@cache
def does(*words: str) -> Any:
    """What a command does with these words; None where it refuses them."""
    return done_now(*words)


def done_now(*words: str) -> Any:
    """What a command does with these words this time."""
    calls: list[Any] = []
    printed = StringIO()
    command = words[0]
    try:
        options = parser_of(command).parse_args(words)
    except SystemExit:
        return None
    with stand_ins(command, calls), redirect_stdout(printed):
        try:
            status = options.run(options)
        except OptionError:
            return None
    return calls, printed.getvalue(), status


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stderr", StringIO())


def test_every_command_is_walked() -> None:
    assert set(BELOW) == set(COMMANDS)
    assert {name for name, ways in called().items() if not any(options_of(p) for _, p in ways)} <= (
        ALONE | {"topics", "store"}
    )


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in ALONE])
def test_an_option_changes_what_a_command_does(command: str) -> None:
    idle: list[str] = []
    unused: set[tuple[int, str]] = set()
    used: set[tuple[int, str]] = set()
    for words, page in called()[command]:
        assert does(*words) is not None, words
        assert does(*words) == done_now(*words)
        options = options_of(page)
        unused |= {(id(page), name) for name in options}
        alone: Mapping[str, list[str]] = {"": [], **options}
        for (beside, others), (name, given) in itertools.product(alone.items(), options.items()):
            before, after = [*words, *others], [*words, *others, *given]
            done = does(*after) if beside != name else None
            if done is not None:
                used.add((id(page), name))
                idle += [" ".join(after)] if done == does(*before) else []
    assert unused <= used
    assert idle == []


def test_operands_are_distinguished() -> None:
    for command, ways in called().items():
        if command in ALONE or command == "inspect":
            continue
        done = [does(*words) for words, _ in ways]
        assert all(done.count(each) == 1 for each in done), command
