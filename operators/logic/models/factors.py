"""Collaborative filtering: what subjects and content have in common, as vectors."""

import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from river import optim, reco, stats

from operators.logic.models.keyed import KeyedLatents
from operators.logic.settlements import Settlements, sampled
from operators.logic.state.segmented import SegmentedSnapshot, SegmentedState
from operators.logic.state.segments import SegmentFiles
from schemas.state import pack, unpack

Floats = NDArray[np.float64]

_KIND, _VERSION = "factor-model", 3
_SUBJECT = struct.Struct("<qqd")
"""How a stored subject begins: when it was last taught and by which outcome, and its bias."""


class FactorSettings(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The number of factors, the learning rates and what is remembered of subjects.

    A subject unseen for ``ttl`` seconds of event time is forgotten, and the longest unseen ones
    beyond ``max_subjects``; so are the longest unseen actions beyond ``max_actions``. ``sample``
    and ``threshold`` are as for the click model.
    """

    factors: int = 8
    bias_rate: float = 0.05
    latent_rate: float = 0.2
    deviation: float = 0.1
    l2: float = 0.0
    sample: float = 1.0
    threshold: float = 0.0
    ttl: float = 30 * 86_400.0
    max_subjects: int = 1_000_000
    max_actions: int = 1_000_000


class ChangedFactors(NamedTuple):
    """A subject's factors, and how many outcomes changed them since the last :meth:`changed`."""

    factors: Floats
    outcomes: int


class _Taught(NamedTuple):
    """When a subject's last outcome became final, and its number among all that were learned."""

    end: int
    number: int


class _State(Struct, kw_only=True):
    settings: FactorSettings
    count: float
    mean: float
    subjects: SegmentedSnapshot
    actions: list[str]
    action_numbers: bytes


class FactorModel:
    """Incremental matrix factorisation of subjects × actions (River's ``BiasedMF``).

    The log-odds of a click are a mean, a subject's and an action's bias and the product of their
    factors (Koren, Bell and Volinsky 2009, eq. 4, with the logistic loss). Subjects without
    consent have no name in an outcome and are passed over.
    """

    def __init__(self, settings: FactorSettings | None = None) -> None:
        self.settings = settings or FactorSettings()
        self._taught: dict[str, _Taught] = {}
        self._actions: dict[str, None] = {}
        self._changed: Counter[str] = Counter()
        self.evicted = 0
        self._model = _build(self.settings)
        self._blocks = SegmentedState(self._taught, self._pack_subjects)

    def use(self, segments: SegmentFiles) -> None:
        """Keep most of the subjects' factors in these segment files from now on."""
        self._blocks.use(segments)

    def __len__(self) -> int:
        """Count the subjects remembered."""
        return len(self._taught)

    def learn(self, settled: Settlements) -> int:
        """Learn the settlements that name a subject, in order; give how many those were.

        ``evicted`` counts the subjects forgotten for want of room.
        """
        taken = 0
        for place in np.flatnonzero(sampled(settled.key, self.settings.sample)).tolist():
            subject = settled.subjects[place]
            if subject is None:
                continue
            end, reward = int(settled.end[place]), float(settled.reward[place])
            clicked = reward > self.settings.threshold
            self._model.learn_one(subject, settled.actions[place], clicked)
            self._meet_action(settled.actions[place])
            # Moved to the end: the dict lists subjects from the longest unseen to the newest.
            self._taught.pop(subject, None)
            self._taught[subject] = _Taught(end, int(self._model.global_mean.n))
            self._blocks.touch(subject)
            self._changed[subject] += 1
            taken += 1
            self._evict(end)
        return taken

    def subject_factors(self, subject: str) -> Floats | None:
        """Give a subject's factors, ``None`` if it is not remembered."""
        return self._model.u_latents[subject].copy() if subject in self._taught else None

    def action_factors(self, action_id: str) -> Floats | None:
        """Give an action's factors, ``None`` if it was never learned from."""
        known = action_id in self._actions
        return self._model.i_latents[action_id].copy() if known else None

    def changed(self) -> dict[str, ChangedFactors]:
        """Give the factors of the subjects that changed since the last call."""
        changes, self._changed = sorted(self._changed.items()), Counter()
        return {name: ChangedFactors(self._model.u_latents[name].copy(), n) for name, n in changes}

    def forget(self, subject: str) -> bool:
        """Remove a subject's factors; tell whether there were any.

        What its outcomes taught the actions' factors is a sum over all subjects and stays.
        """
        self._changed.pop(subject, None)
        self._model.u_latents.pop(subject, None)
        self._model.u_biases.pop(subject, None)
        known = self._taught.pop(subject, None) is not None
        if known:
            self._blocks.touch(subject)
        return known

    def tidy(self) -> None:
        """Write what changed to a segment, when it is time to."""
        self._blocks.tidy()

    def dump(self) -> bytes:
        """Write the state compactly: 8 (factors + 3) bytes a subject and its name.

        Where there are segments, of the subjects only what is not in them, once they are durable.
        """
        model = self._model
        state = _State(
            settings=self.settings,
            count=model.global_mean.n,
            mean=model.global_mean.get(),
            subjects=self._blocks.snapshot(),
            actions=list(self._actions),
            action_numbers=_numbers(self._actions, model.i_biases, model.i_latents),
        )
        return pack(_KIND, _VERSION, state)

    @classmethod
    def load(cls, snapshot: bytes, segments: SegmentFiles | None = None) -> "FactorModel":
        """Read what :meth:`dump` wrote; nothing counts as changed."""
        state = unpack(_KIND, _VERSION, _State, snapshot)
        factors = cls(state.settings)
        model, width = factors._model, state.settings.factors
        model.global_mean = stats.Mean._from_state(state.count, state.mean)
        _restore(state.actions, state.action_numbers, width, model.i_biases, model.i_latents)
        factors._actions = dict.fromkeys(state.actions)
        factors._blocks.restore(state.subjects, segments, factors._restore_subject)
        in_order = sorted(factors._taught.items(), key=lambda item: item[1].number)
        factors._taught.clear()
        factors._taught.update(in_order)
        return factors

    def _pack_subjects(self, subjects: Sequence[str]) -> Iterator[bytes]:
        biases, latents = self._model.u_biases, self._model.u_latents
        for subject in subjects:
            start = _SUBJECT.pack(*self._taught[subject], biases[subject])
            yield start + latents[subject].tobytes()

    def _restore_subject(self, subject: str, block: bytes) -> None:
        end, number, bias = _SUBJECT.unpack_from(block)
        self._taught[subject] = _Taught(end, number)
        self._model.u_biases[subject] = bias
        self._model.u_latents[subject] = np.frombuffer(block, offset=_SUBJECT.size).copy()

    def _meet_action(self, action_id: str) -> None:
        """Note that an action was learned from: the dict lists them from the longest unseen on."""
        self._actions.pop(action_id, None)
        self._actions[action_id] = None
        if len(self._actions) > self.settings.max_actions:
            oldest = next(iter(self._actions))
            del self._actions[oldest]
            self._model.i_latents.pop(oldest, None)
            self._model.i_biases.pop(oldest, None)

    def _evict(self, now: int) -> None:
        horizon = now - int(self.settings.ttl * 1e6)
        while self._taught:
            subject, (seen, _) = next(iter(self._taught.items()))
            if seen >= horizon and len(self._taught) <= self.settings.max_subjects:
                return
            self.evicted += seen >= horizon
            self.forget(subject)


def _build(settings: FactorSettings) -> Any:
    model: Any = reco.BiasedMF(
        n_factors=settings.factors,
        bias_optimizer=optim.SGD(settings.bias_rate),
        latent_optimizer=optim.SGD(settings.latent_rate),
        loss=optim.losses.Log(),
        l2_bias=settings.l2,
        l2_latent=settings.l2,
    )
    model.u_latents = KeyedLatents("subject", settings.factors, settings.deviation)
    model.i_latents = KeyedLatents("action", settings.factors, settings.deviation)
    return model


def _numbers(names: Any, biases: Any, latents: Any) -> bytes:
    if not names:
        return b""
    rows = np.concatenate([latents[name] for name in names]).reshape(len(names), -1)
    last = np.fromiter((biases[name] for name in names), np.float64, len(names))
    return np.column_stack([rows, last]).tobytes()


def _restore(names: list[str], data: bytes, width: int, biases: Any, latents: Any) -> None:
    rows = np.frombuffer(data).reshape(len(names), width + 1)
    for name, row in zip(names, rows, strict=True):
        latents[name] = row[:width].copy()
        biases[name] = float(row[width])
