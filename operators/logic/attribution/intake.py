"""Decisions come in: new ones are kept, and what waited for them wakes up."""

from binascii import crc32
from collections.abc import Sequence
from operator import attrgetter
from typing import Any

from operators.envelope import Event
from operators.logic.attribution import reasons, texts
from operators.logic.attribution.activation import activate
from operators.logic.attribution.ledger import Ledger
from operators.logic.attribution.pending import Pending
from operators.logic.attribution.voids import void_if_withdrawn

_TEXTS = attrgetter("features", "subject", "decision_id")

Record = tuple[Any, ...]
"""A new decision: key, at, kind, propensity, eta, version, tag, blob."""


def decide(ledger: Ledger, events: Sequence[Event]) -> list[Event]:
    """Keep new decisions; give the events that waited for them."""
    if not events:
        return []
    kinds, horizon, reject = ledger.kinds, ledger.horizon, ledger.step.reject
    counted = bool(ledger.counted)
    windows, number_of = kinds.windows, kinds.number
    fresh: dict[int, Record] = {}
    families: dict[int, list[Record]] = {}
    known = ledger.pending.find([event.key for event in events])
    blobs = texts.pack_all([_TEXTS(event.body) for event in events])
    for event, row, blob in zip(events, known, blobs, strict=True):
        body = event.body
        number = number_of(body)
        if number is None:
            reject(event, reasons.UNKNOWN_SLOT, "slot_id")
            continue
        subject, version = body.subject, body.policy_version
        if blob is None or not 0 <= version < 2**32:
            reject(
                event, reasons.INVALID_DECISION, "features" if blob is None else "policy_version"
            )
            continue
        key, at, window = event.key, event.at, windows[number]
        if counted and ledger.is_counted(body.slot_id, at + window):
            continue
        if at + window < horizon:
            reject(event, reasons.LATE)
            continue
        tag = crc32(subject.encode()) & 0xFFFF if subject else 0
        record = (key, at, number, body.propensity, body.eta, version, tag, blob)
        earlier = fresh.get(key) if row < 0 else _record(ledger.pending, row)
        if earlier is not None:
            same = earlier == record
            reject(event, reasons.DUPLICATE_DECISION if same else reasons.CONFLICTING_DECISION)
            continue
        fresh[key] = record
        family = window.bit_length()
        if family in families:
            families[family].append(record)
        else:
            families[family] = [record]
    for family, records in families.items():
        _keep(ledger, family, records)
    orphans = ledger.orphans
    if not len(orphans):
        return []
    return [event for key in fresh if key in orphans for event in orphans.pop(key)]


def _record(pending: Pending, row: int) -> Record:
    return (
        int(pending.key[row]),
        int(pending.at[row]),
        int(pending.kind[row]),
        float(pending.propensity[row]),
        float(pending.eta[row]),
        int(pending.version[row]),
        int(pending.tag[row]),
        pending.blob(row),
    )


def _keep(ledger: Ledger, family: int, records: list[Record]) -> None:
    kinds = ledger.kinds
    *columns, blobs = zip(*records, strict=True)
    ats, numbers = columns[1], columns[2]
    soon = min(at + kinds.windows[number] for at, number in zip(ats, numbers, strict=True))
    rows = ledger.pending.add(family, columns, blobs, soon)
    if not all(kinds.waits[number] for number in set(numbers)):
        activate(ledger, rows[[not kinds.waits[number] for number in numbers]])
    if ledger.withdrawals:
        for row, blob in zip(rows.tolist(), blobs, strict=True):
            void_if_withdrawn(ledger, row, texts.subject_of(blob))
