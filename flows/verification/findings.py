"""What a verification compared, and how much of it was wrong."""

from collections.abc import Sequence

from msgspec import Struct, field

TOLERANCE = 1e-9
"""Relative to the largest number of an action's statistic, and absolute below 1."""


class ActionCheck(Struct):
    """An action's counted decisions and rewards, as learned and as recomputed.

    ``difference`` is the largest relative difference among all of its sufficient statistics.
    ``forgets`` says that decisions are weighted by age, so that counts are no whole numbers.
    """

    slot_id: str
    action_id: str
    learned: tuple[float, float]
    recomputed: tuple[float, float]
    difference: float = 0.0
    forgets: bool = False

    @property
    def agrees(self) -> bool:
        """Say whether counts are equal and all other statistics are within the tolerance."""
        counted = self.forgets or self.learned[0] == self.recomputed[0]
        return counted and self.difference <= TOLERANCE


class PendingCheck(Struct):
    """Decisions that the flow keeps, and those among all that were not kept as recomputed."""

    decisions: int = 0
    different: int = 0


class OutcomeCheck(Struct):
    """Final outcomes on their topic, against the recomputed ones.

    ``missing`` were due and are not there; ``different`` say another thing than the recomputation
    or than an earlier record of the same revision; ``repeated`` were written twice alike, which no
    reader notices. ``pending`` counts reports of rewards so far. What is ``unreadable`` there is no
    outcome: somebody else wrote it, or it is damaged, and no reader can be misled by it.
    ``not_learned`` counts settled ones by the reason why they teach nothing. ``missing_by_slot``
    and ``different_by_slot`` say of which slots they are.
    """

    settled: int = 0
    void: int = 0
    pending: int = 0
    missing: int = 0
    different: int = 0
    repeated: int = 0
    unreadable: int = 0
    not_learned: dict[str, int] = field(default_factory=dict)
    missing_by_slot: dict[str, int] = field(default_factory=dict)
    different_by_slot: dict[str, int] = field(default_factory=dict)

    def miss(self, slot_id: str) -> None:
        """Count an outcome that was due and is not there."""
        self.missing += 1
        self.missing_by_slot[slot_id] = self.missing_by_slot.get(slot_id, 0) + 1

    def differ(self, slot_id: str) -> None:
        """Count an outcome that says another thing."""
        self.different += 1
        self.different_by_slot[slot_id] = self.different_by_slot.get(slot_id, 0) + 1


class TableCheck(Struct):
    """A table's rows, and those that are missing, too many, or not what the topics say."""

    table: str
    rows: int
    different: int


class Verification(Struct):
    """What was compared.

    ``refused`` requests are answered by a dead letter, ``waiting`` ones are kept for their policy;
    ``excluded`` counts events, by the reason of their dead letter, that came too late or that no
    step could use; of a ``late_withdrawal`` only what had settled is excluded. ``behind`` is the
    number of records that the store had not been given yet.
    ``skipped`` slots changed their policy within the log: what they had learned before is gone.
    ``forgotten`` counts the actions that are not compared for the same reason: they were not always
    in the catalog, and were more than a learner remembers. A view of undeclared features that still
    decides, older than the slot's, is compared under a name of its own.
    """

    requests: int = 0
    decisions: int = 0
    unanswered: int = 0
    contradicted: int = 0
    repeated: int = 0
    refused: int = 0
    waiting: int = 0
    excluded: dict[str, int] = field(default_factory=dict)
    actions: list[ActionCheck] = field(default_factory=list)
    largest_difference: float = 0.0
    skipped: list[str] = field(default_factory=list)
    forgotten: int = 0
    pending: PendingCheck = field(default_factory=PendingCheck)
    outcomes: OutcomeCheck = field(default_factory=OutcomeCheck)
    store: list[TableCheck] = field(default_factory=list)
    behind: int = 0

    @property
    def holds(self) -> bool:
        """Say whether every promise was kept."""
        wrong = (
            self.unanswered
            + self.contradicted
            + self.pending.different
            + self.outcomes.missing
            + self.outcomes.different
            + sum(table.different for table in self.store)
        )
        return not wrong and all(check.agrees for check in self.actions)


def verdict(report: Verification, running: Sequence[str] = ()) -> str:
    """Say whether every promise was kept, and of what that is said.

    What differs may have been made by ``running`` flows between one read and the next.

    >>> verdict(Verification())
    'nothing was compared: the topics hold no request, decision or outcome'
    """
    if not report.holds and running:
        return (
            f"DIFFERS, but while {' and '.join(running)} went on: verify again, and a stopped flow "
            "to be sure"
        )
    if not report.holds:
        return "DIFFERS"
    outcomes = report.outcomes
    read = report.requests, report.decisions, report.pending.decisions, outcomes.settled
    if not any(read) and not report.actions and not outcomes.void:
        return "nothing was compared: the topics hold no request, decision or outcome"
    if report.skipped or report.forgotten or report.excluded or not report.store:
        return "holds, for what was compared"
    return "holds"


def describe(report: Verification) -> list[str]:
    """Say in sentences what a verification compared and found."""
    agreeing = sum(check.agrees for check in report.actions)
    pending, outcomes = report.pending, report.outcomes
    lines = [
        f"requests: {report.requests:,} read, {report.decisions:,} decisions, "
        f"{report.refused:,} refused, {report.waiting:,} waiting for a policy, "
        f"{report.unanswered:,} unanswered, "
        f"{report.contradicted:,} with two different answers",
        f"learned: {agreeing} of {len(report.actions)} actions agree, "
        f"largest relative difference {report.largest_difference:.1e} (at most {TOLERANCE:g})",
        f"pending: {pending.decisions:,} decisions, {pending.different:,} different",
        f"outcomes: {outcomes.settled:,} settled, {outcomes.void:,} void, "
        f"{outcomes.missing:,} missing, {outcomes.different:,} different, "
        f"{outcomes.repeated:,} written twice alike",
    ]
    for what, by_slot in (
        ("missing", outcomes.missing_by_slot),
        ("different", outcomes.different_by_slot),
    ):
        if by_slot:
            parts = ", ".join(f"{count:,} of {slot}" for slot, count in sorted(by_slot.items()))
            lines.append(f"outcomes: {what} by slot: {parts}")
    if outcomes.not_learned:
        parts = ", ".join(
            f"{count:,} {reason}" for reason, count in sorted(outcomes.not_learned.items())
        )
        lines.append(f"outcomes: of the settled ones nothing learns of {parts}")
    if outcomes.unreadable:
        lines.append(f"outcomes: {outcomes.unreadable:,} records on their topic are none")
    if report.excluded:
        parts = ", ".join(
            f"{count:,} {reason}" for reason, count in sorted(report.excluded.items())
        )
        lines.append(f"excluded by their dead letters: {parts}")
    if report.skipped:
        lines.append(f"slots not compared, since their policy changed: {', '.join(report.skipped)}")
    if report.forgotten:
        lines.append(f"actions not compared, since they may be forgotten: {report.forgotten:,}")
    lines += [
        f"store, {table.table}: {table.rows:,} rows, {table.different:,} different"
        for table in report.store
    ]
    if report.store and report.behind:
        lines.append(f"store: {report.behind:,} records were not given to it yet")
    if not report.store:
        lines.append("store: not compared (no persist flow has run with this recovery folder)")
    return lines
