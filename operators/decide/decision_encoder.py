"""Decisions as records: what was chosen, with which probabilities, by which policy.

The JSON of :class:`schemas.events.Decision` is put together by column: what a group has in common
is written once, and all numbers of a column in one call.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from msgspec.json import Encoder

from operators.decide.admission import RequestGroup
from operators.decide.contents_encoder import shown_contents, with_candidates
from operators.decide.ranking_encoder import rankings
from operators.decode import read_key
from operators.envelope import Event, Message
from operators.logic.deciding.propensity import NO_ACTION
from operators.logic.deciding.selection import Candidates, Floats, Selection
from operators.logic.deciding.slates import Slates
from operators.logic.experiments.reasons import LOGGED
from operators.logic.features import FeatureMap, pack_rows
from operators.logic.features.packing import packed_length
from operators.logic.policies.published import PublishedPolicy
from schemas.bounds import ESCAPED_CHARACTER, GREATEST_ETA, ID_LENGTH
from schemas.clock import moment
from schemas.codec import MAX_VALUE_BYTES, decode
from schemas.events import Assignment, Decision, DecisionBack, Placed
from schemas.topics import Topic

WRITER = "personalize"
"""What decisions of this flow name as their writer, which is the default."""

LEFT_AT_DEFAULT = {
    "source": "every decision of this flow says the same",
    "type": "every decision says the same",
    "writer": "this flow is the writer of decisions that name none",
    "experiment_id": "a decision may be of several: they are in experiments",
}
"""The fields of a decision that are not written, each with the reason."""

_write = Encoder().encode


_FORMS = {
    "id": b'"decision-%016x"',
    "key": b'"%016x"',
    "features": b'"%b"',
    "request_hash": b'"%08x"',
    "ranking_left_out": b"%d",
    "subject_window": b'"%b"',
    "contents_left_out": b"%d",
}
"""The JSON that a field's values are put into, where they are not JSON themselves."""

_PLACES = {
    name: b'"%b":%b' % (name.encode(), _FORMS.get(name, b"%b"))
    for name in Decision.__struct_fields__
}


def decision_records(
    group: RequestGroup,
    policy: PublishedPolicy,
    feature_map: FeatureMap,
    candidates: Candidates,
    selection: Selection,
    now: datetime,
    limit: int = MAX_VALUE_BYTES,
    visitors: Sequence[str] | None = None,
) -> list[bytes]:
    """Write the decision of each request of the group as JSON of at most ``limit`` bytes.

    A subject without consent is null in its decision. ``features`` are logged where the slot
    declares any, so that learning needs nothing but the log. ``visitors`` are their
    ``subject_window``, None where the slot limits nothing.
    """
    slot, events = group.slot, group.events
    bodies = [event.body for event in events]
    window = timedelta(seconds=slot.reward_window)
    keys = [event.key for event in events]
    actions = [_write(action_id) for action_id in selection.action_ids]
    chosen = selection.chosen.tolist()
    common: dict[str, Any] = {
        "slot_id": slot.slot_id,
        "policy": policy.kind,
        "policy_version": policy.version,
        "decided_at": now,
    }
    if slot.baseline_action_id is not None:
        common["baseline_action_id"] = slot.baseline_action_id
    if slot.learning_mode != "immediate":
        common["learning_mode"] = slot.learning_mode
    if policy.newest > 0:
        common["policy_time"] = moment(policy.newest)
    if feature_map.dim > 1:
        common["mapping"] = feature_map.logged_fingerprint
    alike = _literal(common)[1:-1]
    room = limit - len(alike) - _most_of_its_own(selection, feature_map)
    if group.contexts:
        room -= len(b'"context":null,') + max(len(text or b"") for text in group.contexts)
    experiments = _experiments(group.assignments)
    if experiments:
        room -= len(b'"experiments":,') + max(map(len, experiments))
    logged = shown_contents(selection, group.contents, room) if any(group.contents) else None
    ranked = rankings(selection, room - (logged.longest if logged else 0))
    if logged is not None and slot.log_candidates:
        logged = with_candidates(logged, selection, group.contents, ranked.texts, room)
    columns: dict[str, Iterable[Any]] = {
        "id": keys,
        "time": [_write(body.time) for body in bodies],
        "subject": [_write(event.subject) if event.personal else b"null" for event in events],
        "decision_id": [_write(body.decision_id) for body in bodies],
        "key": keys,
        "action_id": [actions[column] for column in chosen],
        "ranking": ranked.texts,
        "propensity": _numbers(selection.propensity),
        "expires_at": [_write(body.time + window) for body in bodies],
        "eta": _numbers(_within_bounds(selection.eta[range(len(chosen)), chosen])),
        "draw": _numbers(selection.uniform),
        "request_hash": group.request_hashes,
    }
    if feature_map.dim > 1:
        columns["features"] = [row.encode() for row in pack_rows(candidates.x)]
    if slot.holdout.share > 0.0:
        columns["variation_id"] = [_VARIATIONS[held] for held in selection.held_out.tolist()]
    deferred = [body.deferred for body in bodies]
    if any(deferred):
        columns["deferred"] = _booleans(deferred)
    robots = [body.robot for body in bodies]
    if any(robots):
        columns["robot"] = _booleans(robots)
    if visitors is not None:
        columns["subject_window"] = [name.encode() for name in visitors]
    if selection.slates is not None and selection.position_eta is not None:
        position_eta = _within_bounds(selection.position_eta)
        columns["slate"] = _slates(selection.action_ids, selection.slates, position_eta)
    if logged is not None:
        columns["contents"] = logged.written()
        if any(logged.left_out):
            columns["contents_left_out"] = logged.left_out
    if any(group.contexts):
        columns["context"] = [text or b"null" for text in group.contexts]
    if experiments:
        columns["experiments"] = experiments
    if ranked.left_out is not None:
        columns["ranking_left_out"] = ranked.left_out.tolist()
        columns["ranking_left_out_probability"] = _numbers(ranked.mass_left_out)
    record = b"{%b,%b}" % (
        b",".join([_PLACES[name] for name in columns]),
        alike,
    )
    return [record % row for row in zip(*columns.values(), strict=True)]


def _experiments(assignments: Sequence[Sequence[Assignment]]) -> list[bytes]:
    """Write what each decision says of experiments; nothing where none says anything."""
    known: dict[tuple[int, ...], bytes] = {}
    texts = []
    for each in assignments:
        alike = tuple(map(id, each))  # those that are alike are mostly the same objects
        text = known.get(alike)
        if text is None:
            text = known[alike] = _write([one for one in each if one.not_counted in LOGGED])
        texts.append(text)
    return texts if any(text != b"[]" for text in known.values()) else []


_VARIATIONS = (b'"policy"', b'"holdout"')

_LONGEST_ID = ID_LENGTH * ESCAPED_CHARACTER

_OTHER_FIELDS = 2_000 + 2 * _LONGEST_ID
"""The most bytes of the fields that every decision has of its own: their names, two ids, and values
of known length."""

_PLACED = 100 + _LONGEST_ID
"""The most bytes of a place in a slate."""


def decision_messages(events: Iterable[Event], records: Sequence[bytes]) -> list[Message]:
    """Give the message of each request's decision; its fence key is the decision's join key."""
    return [Message(event.key, None, record) for event, record in zip(events, records, strict=True)]


def _most_of_its_own(selection: Selection, feature_map: FeatureMap) -> int:
    """Say how long what a record does not share may be, without its ranking: for all of a group."""
    positions = 0 if selection.slates is None else selection.slates.chosen.shape[1]
    return _OTHER_FIELDS + packed_length(feature_map.dim) + positions * _PLACED


def decision_fence(value: bytes) -> int | None:
    """Read the fence key of a written decision: one answer per request.

    It is 0 for a decision of another writer, None for what does not read back as a decision: that
    answers nothing, whatever key it bears.
    """
    decision = decode(Topic.DECISIONS, value, len(value))  # of any length
    if not isinstance(decision, DecisionBack):
        return None
    return read_key(decision.key) if decision.writer == WRITER else 0


def _literal(value: Any) -> bytes:
    """Write a value to stand in a record that is to be filled in."""
    return _write(value).replace(b"%", b"%%")


def _slates(names: Sequence[str], slates: Slates, position_eta: Floats) -> list[bytes]:
    """Write what each request is shown, up to where nothing was left to show."""
    rows = zip(
        slates.chosen.tolist(), slates.conditional.tolist(), position_eta.tolist(), strict=True
    )
    return [
        _write(
            [
                Placed(names[column], probability, eta)
                for column, probability, eta in zip(*row, strict=True)
                if column != NO_ACTION
            ]
        )
        for row in rows
    ]


def _within_bounds(eta: Floats) -> Floats:
    """Hold predictors to what a decision may bear; learning holds them to far less."""
    return np.clip(eta, -GREATEST_ETA, GREATEST_ETA)


def _booleans(values: Iterable[bool]) -> list[bytes]:
    return [b"true" if each else b"false" for each in values]


def _numbers(values: Any) -> list[bytes]:
    return _write(values.tolist())[1:-1].split(b",")
