"""The decisions that a shard keeps, against those whose windows are open."""

from collections.abc import Mapping

import numpy as np

from flows.verification.findings import Verification
from operators.logic.attribution import reasons
from operators.logic.attribution.decision_classes import EXPOSURE
from operators.logic.attribution.ledger import Ledger
from operators.logic.attribution.pending import ACTIVE, LIVE, VOID
from operators.logic.attribution.rules import WHOLE
from operators.logic.recount import Verdict


def compare_pending(
    report: Verification, ledger: Ledger, verdicts: Mapping[int, Verdict], evicted: set[int]
) -> None:
    """Compare which decisions are kept, which count, teach or are void, and their rewards."""
    pending, classes = ledger.pending, ledger.classes.all
    rows = np.flatnonzero(pending.flags & LIVE)
    keys = pending.key[rows].tolist()
    open_keys = {
        key
        for key, verdict in verdicts.items()
        if not ledger.is_settled(verdict.decision.at, verdict.closes)
    }
    report.pending.decisions += len(keys)
    report.pending.different += len((open_keys - evicted).symmetric_difference(keys))
    for row, key, flags in zip(rows.tolist(), keys, pending.flags[rows].tolist(), strict=True):
        verdict = verdicts.get(key)
        if verdict is None or key not in open_keys:
            continue
        void = bool(flags & VOID)
        not_learned = reasons.NOT_LEARNED[int(pending.reasons(np.array([row]))[0])]
        alike = void == bool(verdict.withdrawals)
        if not void:
            rewards = pending.rewards(row).get(key)
            reward = (
                rewards.reward(classes[int(pending.decision_class[row])].rules) if rewards else None
            )
            alike &= bool(flags & ACTIVE) == verdict.counts
            alike &= bool(rewards) == (verdict.rewards > 0)
            alike &= reward is None or reward == verdict.reward
            alike &= not_learned == verdict.not_learned
        report.pending.different += not alike


def weights_of(ledger: Ledger, verdicts: Mapping[int, Verdict]) -> dict[int, float]:
    """Say how much of each open decision its learner counts, where that is not all of it.

    Slots that wait count nothing of an open decision. A slot that weighs by the delay counts a
    decision without a reward by the weight that attribution keeps for it, which depends on when
    it looked.
    """
    pending, classes = ledger.pending, ledger.classes
    rows = np.flatnonzero(pending.flags & LIVE)
    rows = rows[classes.mode[pending.decision_class[rows]] == EXPOSURE] if len(rows) else rows
    shares = pending.weight[rows] / WHOLE
    exposed = dict(zip(pending.key[rows].tolist(), shares.tolist(), strict=True))
    shares_of: dict[int, float] = {}
    for key, verdict in verdicts.items():
        mode = verdict.decision.body.learning_mode
        if mode == "immediate" or ledger.is_settled(verdict.decision.at, verdict.closes):
            continue
        if mode == "wait":
            shares_of[key] = 0.0
        elif not verdict.rewards:
            shares_of[key] = exposed.get(key, 0.0)
    return shares_of
