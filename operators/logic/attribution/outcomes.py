"""Outcome records: what is reported of a decision, its identity, and its JSON, many at once."""

import binascii
import re
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from operators.envelope import Message
from operators.logic.attribution import reasons
from operators.logic.attribution.chunks import Rows
from operators.logic.attribution.decision_classes import DecisionClass, DecisionClasses
from operators.logic.attribution.decision_codec import (
    HEADER_BYTES,
    HEX_UUID,
    NAME_CODES,
    NO_FEATURES,
    unpack_decision,
)
from operators.logic.attribution.pending import ACTIVE, Pending
from operators.logic.attribution.rewards import Rewards
from operators.logic.attribution.window import delay
from schemas.clock import moment
from schemas.codec import decode, encode
from schemas.results import Outcome, OutcomeStatus
from schemas.topics import Topic

SETTLED_REVISION: Final = 2**31 - 2
VOID_REVISION: Final = 2**31 - 1
"""The last report on a decision outranks all others, however many a replay makes of them."""

_Alike = tuple[int, int]
"""The number of a decision's class, and that of the reason why it does not teach."""

_STATUSES: Final = {"pending": 1, "settled": 2, "void": 3}
_MASK: Final = 2**64 - 1

_TIME: Final = [("second", "S20"), ("milli", "S3"), ("micro", "S3"), ("zone", "S1")]
_THOUSAND: Final = np.array([f"{number:03d}" for number in range(1000)], dtype="S3")
_HEAD: Final = [
    ("time=", "S9"),
    ("time", _TIME),
    ("settled_at=", "S16"),
    ("settled_at", _TIME),
    ("key=", "S9"),
    ("key", "S16"),
    ("end", "S2"),
]
_DIGITS: Final = [("subject", "S32"), ("a", "S8"), ("b", "S4"), ("c", "S4"), ("d", "S4"),
                  ("e", "S12")]  # fmt: skip
_NAMES: Final = [
    ("subject=", "S11"),
    ("subject", "S32"),
    ("decision_id=", "S17"),
    ("a", "S8"),
    ("-b", "S1"),
    ("b", "S4"),
    ("-c", "S1"),
    ("c", "S4"),
    ("-d", "S1"),
    ("d", "S4"),
    ("-e", "S1"),
    ("e", "S12"),
    ("end", "S2"),
]


def outcome_id(key: int, status: OutcomeStatus, revision: int) -> int:
    """Give the 64-bit fence key of an outcome record, never 0.

    The finaliser of SplitMix64 (Steele, Lea and Flood 2014) over the decision's key, which is
    uniform already.

    >>> outcome_id(1, "pending", 1) != outcome_id(1, "pending", 2)
    True
    """
    value = (key + 0x9E3779B97F4A7C15 * (revision << 2 | _STATUSES[status])) & _MASK
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    value = (value ^ value >> 27) * 0x94D049BB133111EB & _MASK
    return value ^ value >> 31 or 1


_KEY: Final = re.compile("[0-9a-f]{16}")


def outcome_fence(value: bytes) -> int | None:
    """Read the fence key of a written outcome record; None for what is none."""
    outcome = decode(Topic.OUTCOMES, value)
    if not isinstance(outcome, Outcome) or not _KEY.fullmatch(outcome.key):
        return None
    return outcome_id(int(outcome.key, 16), outcome.status, outcome.revision)


def settled_ids(keys: NDArray[np.uint64]) -> list[int]:
    """Give the fence keys of the settled outcomes of decisions.

    >>> keys = np.array([0, 1, 2**64 - 1], dtype=np.uint64)
    >>> settled_ids(keys) == [outcome_id(key, "settled", SETTLED_REVISION) for key in keys.tolist()]
    True
    """
    value = keys + np.uint64(
        0x9E3779B97F4A7C15 * (SETTLED_REVISION << 2 | _STATUSES["settled"]) & _MASK
    )
    value = (value ^ value >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ value >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return [id_ or 1 for id_ in (value ^ value >> np.uint64(31)).tolist()]


def pending_outcome(
    pending: Pending, row: int, decision_class: DecisionClass, rewards: Rewards
) -> Outcome:
    """Report the reward that a decision has earned so far, if it counts."""
    outcome = _active_outcome(pending, row, decision_class, rewards, "pending", rewards.revision)
    if not pending.flags[row] & ACTIVE:
        outcome.activated, outcome.reward = False, 0.0
    return outcome


def settled_outcome(
    pending: Pending, row: int, decision_class: DecisionClass, rewards: Rewards | None
) -> Outcome:
    """Report the final reward of a decision."""
    outcome = _active_outcome(pending, row, decision_class, rewards, "settled", SETTLED_REVISION)
    outcome.settled_at = moment(int(pending.at[row]) + decision_class.window)
    return outcome


def void_outcome(pending: Pending, row: int, decision_class: DecisionClass, reason: str) -> Outcome:
    """Report that a decision counts for nothing, without its subject and features."""
    at = int(pending.at[row])
    return Outcome(
        time=moment(at),
        subject=None,
        decision_id=unpack_decision(pending.blob(row))[2],
        key=f"{int(pending.key[row]):016x}",
        slot_id=decision_class.slot_id,
        action_id=decision_class.action_id,
        propensity=float(pending.propensity[row]),
        reward=0.0,
        status="void",
        revision=VOID_REVISION,
        activated=False,
        policy_version=int(pending.version[row]),
        policy=decision_class.policy,
        reason=reason,
        experiment_id=decision_class.experiment_id,
        variation_id=decision_class.variation_id,
        settled_at=moment(at + decision_class.window),
    )


def _active_outcome(
    pending: Pending,
    row: int,
    decision_class: DecisionClass,
    rewards: Rewards | None,
    status: OutcomeStatus,
    revision: int,
) -> Outcome:
    features, subject, decision_id = unpack_decision(pending.blob(row))
    at, rules = int(pending.at[row]), decision_class.rules
    return Outcome(
        time=moment(at),
        subject=subject,
        decision_id=decision_id,
        key=f"{int(pending.key[row]):016x}",
        slot_id=decision_class.slot_id,
        action_id=decision_class.action_id,
        propensity=float(pending.propensity[row]),
        reward=rewards.reward(rules) if rewards else rules.default_reward,
        status=status,
        revision=revision,
        activated=True,
        policy_version=int(pending.version[row]),
        policy=decision_class.policy,
        delay=delay(rewards.first_at - at) / 1e6 if rewards else None,
        experiment_id=decision_class.experiment_id,
        variation_id=decision_class.variation_id,
        features=features,
        mapping=decision_class.fingerprint,
        eta=float(pending.eta[row]),
        not_learned=reasons.NOT_LEARNED[pending.reasons(np.array([row]))[0]],
    )


def encode_outcome(key: int, outcome: Outcome) -> Message:
    """Write an outcome record; ``key`` is the decision's join key."""
    id_ = outcome_id(key, outcome.status, outcome.revision)
    return Message(id_, outcome.key.encode(), encode(outcome))


class OutcomeEncoder:
    """Writes settled outcomes without a reward many at once: their JSON is put together by column.

    What all outcomes of a decision class say alike is written once.
    """

    def __init__(self, pending: Pending, classes: DecisionClasses) -> None:
        self._pending = pending
        self._classes = classes
        self._constants: dict[_Alike, bytes] = {}
        self._sweeps = classes.sweeps

    def encode(self, rows: Rows) -> list[Message]:
        """Write what :func:`settled_outcome` says of each of some rows without a reward."""
        pending = self._pending
        keys, at, numbers = pending.key[rows], pending.at[rows], pending.decision_class[rows]
        alike = list(zip(numbers.tolist(), pending.reasons(rows).tolist(), strict=True))
        constants = self._constants_of(alike)
        digits = keys.astype(">u8").tobytes().hex().encode()
        header = pending.headers(rows)
        parts = zip(
            settled_ids(keys),
            _cut(digits, 16),
            _heads(at, at + self._classes.window[numbers], digits),
            _names(pending, rows, header),
            _features(pending, rows, header["floats"]),
            alike,
            _numbers(pending.propensity[rows]),
            _numbers(pending.version[rows]),
            _numbers(pending.eta[rows]),
            strict=True,
        )
        return [
            Message(
                id_,
                key,
                b'%b%b%b%b,"propensity":%b,"policy_version":%b,"eta":%b}'
                % (head, names, features, constants[number], propensity, version, eta),
            )
            for id_, key, head, names, features, number, propensity, version, eta in parts
        ]

    def _constants_of(self, alike: list[_Alike]) -> dict[_Alike, bytes]:
        """Write what all outcomes of each of these classes, not learned for a reason, say alike."""
        classes = self._classes
        if self._sweeps != classes.sweeps:
            self._sweeps, self._constants = classes.sweeps, {}
        for number, reason in set(alike) - self._constants.keys():
            self._constants[number, reason] = _constants(classes.all[number], reason)
        return self._constants


def _constants(decision_class: DecisionClass, reason: int) -> bytes:
    """Write what all settled outcomes without a reward say alike: fields of a JSON object."""
    record: dict[str, object] = {
        "slot_id": decision_class.slot_id,
        "action_id": decision_class.action_id,
        "reward": decision_class.rules.default_reward,
        "status": "settled",
        "revision": SETTLED_REVISION,
        "activated": True,
        "policy": decision_class.policy,
    }
    if decision_class.experiment_id is not None:
        record["experiment_id"] = decision_class.experiment_id
    if decision_class.variation_id is not None:
        record["variation_id"] = decision_class.variation_id
    if decision_class.fingerprint:
        record["mapping"] = decision_class.fingerprint
    if reason:
        record["not_learned"] = reasons.NOT_LEARNED[reason]
    return msgspec.json.encode(record)[1:-1]


def _heads(at: Rows, settled_at: Rows, digits: bytes) -> list[bytes]:
    """Write times and keys."""
    form = np.empty(len(at), dtype=_HEAD)
    form["time="], form["settled_at="] = b'{"time":"', b'","settled_at":"'
    _write_times(form["time"], at)
    _write_times(form["settled_at"], settled_at)
    form["key="], form["end"] = b'","key":"', b'",'
    form["key"] = np.frombuffer(digits, dtype="S16")
    return _cut(form.tobytes(), form.itemsize)


def _write_times(form: NDArray[Any], at: Rows) -> None:
    second, rest = np.divmod(at, 1_000_000)
    seconds, place = np.unique(second, return_inverse=True)
    seconds_text = [moment(each * 1_000_000).isoformat()[:19] + "." for each in seconds.tolist()]
    form["second"] = np.array(seconds_text, dtype="S20")[place]
    form["milli"], form["micro"] = _THOUSAND[rest // 1000], _THOUSAND[rest % 1000]
    form["zone"] = b"Z"


def _names(pending: Pending, rows: Rows, header: NDArray[Any]) -> list[bytes]:
    """Write subjects and decision ids; those of the usual form all at once."""
    usual = (header["codes"] & NAME_CODES == HEX_UUID) & (header["subject"] == 16)
    every: list[bytes] = []
    if usual.any():
        form = _usual_names(pending, rows[usual], header["floats"][usual])
        every = _cut(form.tobytes(), form.itemsize)
    for place in np.flatnonzero(~usual).tolist():
        _, subject, decision_id = unpack_decision(pending.blob(int(rows[place])))
        names = msgspec.json.encode({"subject": subject, "decision_id": decision_id})
        every.insert(place, names[1:-1] + b",")
    return every


def _usual_names(pending: Pending, rows: Rows, floats: NDArray[Any]) -> NDArray[Any]:
    skip = np.where(floats == NO_FEATURES, 0, 4 * floats.astype(np.int64))
    ids = pending.packed(rows, HEADER_BYTES + skip, 32)
    digits = np.frombuffer(ids.tobytes().hex().encode(), dtype=_DIGITS)
    form = np.empty(len(rows), dtype=_NAMES)
    form["subject="], form["decision_id="], form["end"] = (
        b'"subject":"',
        b'","decision_id":"',
        b'",',
    )
    for name, _ in _DIGITS:
        form[name] = digits[name]
    for name in ("-b", "-c", "-d", "-e"):
        form[name] = b"-"
    return form


def _features(pending: Pending, rows: Rows, floats: NDArray[Any]) -> list[bytes]:
    """Write features as base64; nothing for a decision without."""
    every = [b""] * len(rows)
    for size in np.unique(floats).tolist():
        if size == NO_FEATURES:
            continue
        places = np.flatnonzero(floats == size)
        for place, text in zip(places.tolist(), _base64(pending, rows[places], size), strict=True):
            every[place] = text
    return every


def _base64(pending: Pending, rows: Rows, floats: int) -> list[bytes]:
    if not floats:
        return [b'"features":"",'] * len(rows)
    width = 4 * floats
    padding = -width % 3
    data = np.zeros((len(rows), width + padding), dtype=np.uint8)
    vectors = pending.packed(rows, HEADER_BYTES, width)
    data[:, :width] = vectors.view(np.uint8).reshape(len(rows), width)
    size = (width + padding) // 3 * 4
    form = np.empty(len(rows), dtype=[("features=", "S12"), ("text", f"S{size}"), ("end", "S2")])
    form["features="], form["end"] = b'"features":"', b'",'
    form["text"] = np.frombuffer(binascii.b2a_base64(data.tobytes(), newline=False), f"S{size}")
    whole = form.view(np.uint8).reshape(len(rows), form.itemsize)
    whole[:, form.itemsize - 2 - padding : form.itemsize - 2] = ord("=")
    return _cut(whole.tobytes(), form.itemsize)


def _numbers(values: NDArray[Any]) -> list[bytes]:
    return msgspec.json.encode(values.tolist())[1:-1].split(b",")


def _cut(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]
