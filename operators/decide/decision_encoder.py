"""Decisions as records: what was chosen, with which probabilities, by which policy.

The JSON of :class:`schemas.events.Decision` is put together by column: what a group has in common
is written once, and all numbers of a column in one call.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import orjson
from msgspec.json import Encoder

from operators.decide.admission import RequestGroup
from operators.logic.deciding.propensity import NO_ACTION
from operators.logic.deciding.selection import Candidates, Selection
from operators.logic.features import FeatureMap, pack_rows
from operators.logic.policies.published import PublishedPolicy
from schemas.clock import moment
from schemas.events import Placed

LEFT_AT_DEFAULT = {
    "source": "every decision of this flow says the same",
    "type": "every decision says the same",
    "writer": "this flow is the writer of decisions that name none",
    "experiment_id": "no flow of this release divides traffic by experiments",
}
"""The fields of a decision that are not written, each with the reason."""

_write = Encoder().encode


def decision_records(
    group: RequestGroup,
    policy: PublishedPolicy,
    feature_map: FeatureMap,
    candidates: Candidates,
    selection: Selection,
    now: datetime,
) -> list[bytes]:
    """Write the decision of each request of the group.

    A subject without consent is null in its decision. ``features`` are logged where the slot
    declares any, so that learning needs nothing but the log.
    """
    slot, events = group.slot, group.events
    bodies = [event.body for event in events]
    window = timedelta(seconds=slot.reward_window)
    keys = [b"%016x" % event.key for event in events]
    actions = [_write(action_id) for action_id in selection.action_ids]
    features = [b""] * len(events)
    if feature_map.dim > 1:
        features = [b',"features":"%b"' % row.encode() for row in pack_rows(candidates.x)]
    variations = [b"", b""]
    if slot.holdout.share > 0.0:
        variations = [b',"variation_id":"policy"', b',"variation_id":"holdout"']
    chosen = selection.chosen.tolist()
    rows = zip(
        keys,
        [_write(body.time) for body in bodies],
        [_write(event.subject) if event.personal else b"null" for event in events],
        [_write(body.decision_id) for body in bodies],
        keys,
        [actions[column] for column in chosen],
        _rankings(selection),
        _numbers(selection.propensity),
        [_write(body.time + window) for body in bodies],
        [variations[held_out] for held_out in selection.held_out.tolist()],
        [b',"deferred":true' if body.deferred else b"" for body in bodies],
        features,
        _numbers(selection.eta[range(len(chosen)), chosen]),
        _numbers(selection.uniform),
        group.request_hashes,
        _slates(selection),
        strict=True,
    )
    record = _common(group, policy, feature_map, now)
    return [record % row for row in rows]


def _common(
    group: RequestGroup, policy: PublishedPolicy, feature_map: FeatureMap, now: datetime
) -> bytes:
    """Give the record with what all decisions of the group have in common filled in."""
    slot = group.slot
    fields: dict[str, Any] = {"policy": policy.kind, "policy_version": policy.version}
    if slot.baseline_action_id is not None:
        fields["baseline_action_id"] = slot.baseline_action_id
    if slot.learning_mode != "immediate":
        fields["learning_mode"] = slot.learning_mode
    if feature_map.dim > 1:
        fields["mapping"] = feature_map.logged_fingerprint
    times = {"decided_at": now}
    if policy.newest > 0:
        times["policy_time"] = moment(policy.newest)
    return (
        b'{"id":"decision-%%b","time":%%b,"subject":%%b,"decision_id":%%b,"key":"%%b","slot_id":%b,'
        b'"action_id":%%b,"ranking":%%b,"propensity":%%b,%b,"expires_at":%%b%%b%%b%%b,"eta":%%b,'
        b'"draw":%%b,%b,"request_hash":"%%08x"%%b}'
    ) % (_literal(slot.slot_id), _literal(fields)[1:-1], _literal(times)[1:-1])


def _literal(value: Any) -> bytes:
    """Write a value to stand in a record that is to be filled in."""
    return _write(value).replace(b"%", b"%%")


def _slates(selection: Selection) -> Sequence[bytes]:
    """Write what each request is shown, up to where nothing was left to show."""
    if selection.slates is None or selection.position_eta is None:
        return [b""] * len(selection.chosen)
    names = selection.action_ids
    return [
        b',"slate":'
        + _write(
            [
                Placed(names[column], probability, eta)
                for column, probability, eta in zip(*row, strict=True)
                if column != NO_ACTION
            ]
        )
        for row in zip(
            selection.slates.chosen.tolist(),
            selection.slates.conditional.tolist(),
            selection.position_eta.tolist(),
            strict=True,
        )
    ]


def _rankings(selection: Selection) -> Iterator[bytes]:
    """Write each request's eligible actions and probabilities, in the catalog's order."""
    places = [
        b'{"action_id":%b,"probability":%%b}' % _literal(name) for name in selection.action_ids
    ]
    whole = b"[%b]" % b",".join(places)
    numbers = orjson.dumps(selection.logged, option=orjson.OPT_SERIALIZE_NUMPY)
    for row, text in enumerate(numbers[2:-2].split(b"],[")):
        probabilities, record = text.split(b","), whole
        if selection.mask is not None:
            columns = selection.mask[row].nonzero()[0].tolist()
            probabilities = [probabilities[column] for column in columns]
            record = b"[%b]" % b",".join([places[column] for column in columns])
        yield record % tuple(probabilities)


def _numbers(values: Any) -> list[bytes]:
    return _write(values.tolist())[1:-1].split(b",")
