"""Vowpal Wabbit's ``--cb_explore_adf`` as a learner of rankings, through its Python package."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ops.benchmarks.bandits.ranking.learners import Decisions
from ops.benchmarks.bandits.ranking.requests import Environment, Floats, Json, Requests

KEPT = 20_000
"""Lines of actions that are kept, for those that are offered again with the same features."""

LEAST = 1e-6
"""The least probability that a label may have."""


@dataclass(frozen=True, slots=True)
class Setting:
    """``arguments`` beside the crossing; with ``ids`` the action's id is a namespace of its own.

    The cost is minus the reward, or with ``losses`` 1 less the reward: a model that knows nothing
    predicts 0, so the first makes an untried action look bad and the second good.

    ``crossed``: ``pairs`` of a context's and an action's namespaces; ``all`` pairs (``-q ::``);
    ``cubic``: those of ``pairs``, and an action's with two of the context's.
    """

    arguments: str
    crossed: str = "pairs"
    ids: bool = False
    losses: bool = False


def crossing(setting: Setting, context: tuple[str, ...], action: tuple[str, ...]) -> str:
    """Give the arguments that cross the namespaces, which VW names by their first letters.

    >>> crossing(Setting(""), ("user", "moment"), ("item",))
    '-q ui -q mi'
    >>> crossing(Setting("", "cubic", ids=True), ("user",), ("item",))
    '-q ui -q uk --interactions uui --interactions uuk'
    """
    if setting.crossed == "all":
        return "-q ::"
    left = [name[0] for name in context]
    right = [name[0] for name in action] + ["k"] * setting.ids
    found = [f"-q {one}{other}" for one in left for other in right]
    if setting.crossed == "cubic":
        twos = [f"{one}{two}" for i, one in enumerate(left) for two in left[i:]]
        found += [f"--interactions {two}{other}" for two in twos for other in right]
    return " ".join(found)


def text(namespaces: Json) -> str:
    """Write namespaces as VW's text, as its own reader of JSON takes them.

    Numbers are features of their name, strings and names together one feature, true is 1, false is
    none, lists of numbers are numbered. Names and strings must hold no space, ``|`` or ``:``.

    >>> text({"user": {"age": 3, "device": "tv", "member": True, "new": False, "taste": [0.5, 0]}})
    '|user age:3 device=tv member taste_0:0.5 taste_1:0'
    """
    return " ".join(f"|{name} {' '.join(_features(found))}" for name, found in namespaces.items())


def _features(found: Json) -> Iterator[str]:
    for name, value in found.items():
        if isinstance(value, str):
            yield f"{name}={value}"
        elif isinstance(value, bool):
            if value:
                yield name
        elif isinstance(value, list):
            yield from (f"{name}_{i}:{one:g}" for i, one in enumerate(value))
        else:
            yield f"{name}:{value:g}"


class VowpalWabbit:
    """One request at a time: each is learned from before the next is decided.

    A request's examples are parsed once, predicted, labelled with what was drawn and learned.
    """

    batch = 1

    def __init__(self, environment: Environment, setting: Setting, seed: int) -> None:
        from vowpalwabbit import Workspace

        crossed = crossing(setting, environment.context_namespaces, environment.action_namespaces)
        self._vw = Workspace(
            f"--cb_explore_adf {setting.arguments} {crossed} --quiet --random_seed {seed}"
        )
        self._rng = np.random.default_rng([44, seed])
        self._ids, self._nothing = setting.ids, float(setting.losses)
        self._lines: dict[str, tuple[Json, str]] = {}
        self._examples: Any = None

    def decide(self, requests: Requests) -> Decisions:
        """Predict the distribution and draw from it."""
        shared = f"shared {text(requests.contexts[0])}"
        actions = [self._line(action) for action in requests.actions[0]]
        self._examples = self._vw.parse([shared, *actions])
        p = np.array([self._vw.predict(self._examples)], dtype=float)
        return Decisions.drawn(p / p.sum(), self._rng.random(1))

    def learn(self, requests: Requests, decisions: Decisions, rewards: Floats) -> None:  # noqa: ARG002
        """Learn the cost of what was drawn."""
        action = int(decisions.chosen[0])
        cost = self._nothing - float(rewards[0])
        p = max(float(decisions.p[0, action]), LEAST)
        self._examples[action + 1].set_label_string(f"0:{cost:g}:{p:.6g}")
        self._vw.learn(self._examples)
        self._vw.finish_example(self._examples)

    def _line(self, action: Json) -> str:
        features = action["features"]
        kept, line = self._lines.get(action["id"], (None, ""))
        if kept is not features:
            line = text(features) + (f" |k {action['id']}" if self._ids else "")
            if len(self._lines) >= KEPT:
                self._lines.clear()
            self._lines[action["id"]] = features, line
        return line
