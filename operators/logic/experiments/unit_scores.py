"""One score for each unit of an experiment, released in order when its window has closed.

What is released is a function of the set of decisions, outcome records and withdrawals, and of the
watermark, as long as each comes before the watermark has passed its decision (a decision), its
window's end (a report) or its time (a withdrawal): of no order, no repetition and no cut into
batches. Sums are taken in the order of (time, key), so that they are the same to the last bit.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final, Self

import numpy as np
from msgspec import Struct, field
from numpy.typing import NDArray

from operators.logic.experiments.bucketed_rows import (
    BucketedRows,
    Table,
    first_of_each,
    newest_of_each,
)
from operators.logic.experiments.enrolled import Enrolled
from operators.logic.experiments.score_columns import REPORT_ROW, Scores, decision_row
from operators.logic.experiments.score_counts import (
    Advance,
    Opened,
    ScoreCounts,
    add_by_variation,
)
from operators.logic.experiments.scored_metric import ScoredMetric, ScoreError
from operators.logic.experiments.settled_decisions import (
    SettledDecisions,
    decision_scores,
    settle,
    without_decision,
)
from schemas.state import StateError, pack, unpack

Keys = NDArray[np.uint64]

_KIND, _VERSION = "unit_scores", 1
"""Of the head; the version is that of the blocks of rows, too, which are bare."""

_WITHDRAWAL: Final = np.dtype([("unit", "<u8"), ("at", "<i8")])


class _Head(Struct, kw_only=True):
    metric: ScoredMetric
    variations: int
    watermark: int | None
    settled: int | None
    counts: ScoreCounts
    withdrawals: bytes = b""
    limits: list[int] = field(default_factory=list)


class UnitScores:
    """The scores of one metric of an experiment.

    Parameters
    ----------
    metric
    variations
        How many there are.
    most_units
        Subjects that are scored at most: the first ones by (first exposure, subject).
    most_rows
        Decisions that wait for their rewards to be final at most. Beyond it the oldest are evicted:
        their units are dropped, and counted.
    """

    def __init__(
        self,
        metric: ScoredMetric,
        variations: int,
        *,
        most_units: int = 50_000_000,
        most_rows: int = 5_000_000,
    ) -> None:
        if variations < 1:
            raise ScoreError("an experiment has one variation at least")
        self.metric = metric
        self.watermark: int | None = None
        self.counts = ScoreCounts.none(variations)
        self._variations = variations
        self._most_units, self._most_rows = most_units, most_rows
        self._settled: int | None = None
        self._layout = decision_row(variations)
        self._decisions = BucketedRows(self._layout, metric.grain, first_of_each)
        self._reports = BucketedRows(REPORT_ROW, metric.grain, newest_of_each)
        self._withdrawals: NDArray[np.void] = np.empty(0, dtype=_WITHDRAWAL)
        self._enrolled = Enrolled(variations)
        self._unmatched: set[int] = set()  # buckets with reports that may be of no decision
        self._written: set[str] = set()

    @property
    def finished(self) -> bool:
        """Whether every score is final, and no unit will come."""
        finished = self.metric.finished
        return finished is not None and self.watermark is not None and self.watermark >= finished

    @property
    def waiting(self) -> int:
        """How many rows are held: decisions, reports, and subjects whose windows are open."""
        return len(self._decisions) + len(self._reports) + self._enrolled.waiting

    def end(self, end: int) -> None:
        """Take no exposure from ``end`` on, as the experiment has ended.

        It is to be called before the watermark has passed ``end`` and ``settle``; exposures that
        are final already stay.
        """
        self.metric = replace(self.metric, end=end)

    def add_decisions(self, rows: Table) -> None:
        """Take in decisions, as :func:`score_columns.decision_rows` puts them together."""
        if rows.dtype != self._layout:
            raise ScoreError("the decisions are of an experiment with other variations")
        in_time = self._in_time(rows)
        self.counts.late_decisions += len(rows) - len(in_time)
        self._decisions.add(in_time)

    def add_reports(self, rows: Table) -> None:
        """Take in outcome records, as :func:`score_columns.report_rows` puts them together."""
        in_time = self._in_time(rows)
        self.counts.late_reports += len(rows) - len(in_time)
        self._reports.add(in_time)
        self._unmatched.update(np.unique(in_time["at"] // self.metric.grain).tolist())

    def withdraw(self, units: Keys, at: NDArray[np.int64]) -> None:
        """Take in withdrawals of consent, and erasures, of subjects.

        A subject whose window is open then is dropped; a score that is closed stays, and so does
        what follows a later exposure. One that comes late drops what is not released yet, too. Of
        decisions as units, void reports say it.
        """
        if self.metric.unit != "subject":
            raise ScoreError("units are decisions: a void report says that one is withdrawn")
        new = np.empty(len(units), dtype=_WITHDRAWAL)
        new["unit"], new["at"] = units, at
        if self.watermark is not None:
            self.counts.late_withdrawals += int((new["at"] < self.watermark).sum())
        self._withdrawals = np.unique(np.concatenate((self._withdrawals, new)))

    def advance(self, watermark: int) -> Advance:
        """Release what is final at a watermark: the least of all partitions, which only rises.

        A unit's score is released once its window and the grain that this lies in have closed, so
        in the order (closing time, unit) over all steps.
        """
        if self.watermark is not None:
            watermark = max(self.watermark, watermark)
        self.watermark = watermark
        self._prune(watermark)
        opened: list[Opened] = []
        scores: list[Scores] = []
        self._evict(opened, scores)
        self._settle_before(self.metric.settled_before(watermark), False, opened, scores)
        self._apply_withdrawals()
        if self.metric.unit == "subject":
            final = self.metric.settled_before(watermark)
            scores.append(self._enrolled.close(final - self.metric.span, self.metric))
        released = Scores.joined(scores or [Scores.none(self._variations)])
        self.counts.released_scores(released)
        nobody = Opened.of(np.empty(0, dtype=self._layout))
        return Advance(opened=Opened.joined([nobody, *opened]), scores=released)

    def _in_time(self, rows: Table) -> Table:
        return rows if self._settled is None else rows[rows["at"] >= self._settled]

    def _prune(self, watermark: int) -> None:
        """Forget reports of decisions that are not the experiment's: all of a past grain's came."""
        for bucket in sorted(self._unmatched):
            if (bucket + 1) * self.metric.grain > watermark:
                continue
            self._unmatched.discard(bucket)
            reports = self._reports.bucket(bucket)
            strange = without_decision(reports, self._decisions.bucket(bucket))
            if strange.any():
                self.counts.unmatched += int(strange.sum())
                self._reports.keep(bucket, reports[~strange])

    def _settle_before(
        self, until: int, evicted: bool, opened: list[Opened], scores: list[Scores]
    ) -> None:
        """Enrol the decisions of all grains before a time, which is a multiple of the grain."""
        if self._settled is not None and until <= self._settled:
            return
        stop = until // self.metric.grain
        for bucket in sorted(self._decisions.before(stop) | self._reports.before(stop)):
            decisions, reports = self._decisions.take(bucket), self._reports.take(bucket)
            settled = settle(self.metric, decisions, reports, evicted=evicted)
            self.counts.evicted += len(settled) if evicted else 0
            if self.metric.unit == "subject":
                self._enrol(settled, opened)
            else:
                self._score(settled, opened, scores)
        self._settled = until

    def _score(self, settled: SettledDecisions, opened: list[Opened], scores: list[Scores]) -> None:
        """Score decisions that are units themselves."""
        rows = settled.rows[settled.exposes]
        add_by_variation(self.counts.exposed, rows["variation"])
        opened.append(Opened.of(rows))
        gone = settled.void[settled.exposes]
        add_by_variation(self.counts.dropped, rows["variation"][gone])
        scores.append(decision_scores(self.metric, settled))

    def _enrol(self, settled: SettledDecisions, opened: list[Opened]) -> None:
        """Open the windows of subjects exposed for the first time; add what others earned."""
        enrolled, rows = self._enrolled, settled.rows
        new = np.flatnonzero(settled.exposes & (enrolled.find(rows["unit"]) < 0))
        if len(new):
            _, places = np.unique(rows["unit"][new], return_index=True)
            firsts = rows[new[places]]
            firsts = firsts[np.lexsort((firsts["unit"], firsts["at"]))]
            room = max(0, self._most_units - len(enrolled))
            self.counts.turned_away += max(0, len(firsts) - room)
            firsts = firsts[:room]
            enrolled.open(firsts)
            add_by_variation(self.counts.exposed, firsts["variation"])
            opened.append(Opened.of(firsts))
        serials = enrolled.find(rows["unit"])
        within = np.flatnonzero(enrolled.is_open(serials))
        first, at = enrolled.first(serials[within]), rows["at"][within]
        within = within[(at >= first) & (at <= first + self.metric.span)]
        void = settled.void[within]
        self._drop(serials[within[void]])
        within = within[~void]
        within = within[enrolled.is_open(serials[within])]
        enrolled.earn(serials[within], settled.value[within])
        other = rows["variation"][within] != enrolled.variation(serials[within])
        enrolled.mix(serials[within[other & settled.exposes[within]]])

    def _apply_withdrawals(self) -> None:
        table = self._withdrawals
        if not len(table):
            return
        serials = self._enrolled.find(table["unit"])
        known = np.flatnonzero(self._enrolled.is_open(serials))
        first, at = self._enrolled.first(serials[known]), table["at"][known]
        length = self.metric.span + self.metric.settle
        self._drop(serials[known[(at >= first) & (at <= first + length)]])
        if self._settled is not None:  # a subject that is not exposed yet will be later than this
            self._withdrawals = table[table["at"] >= self._settled]

    def _drop(self, serials: NDArray[np.int64]) -> None:
        if len(serials):
            add_by_variation(self.counts.dropped, self._enrolled.drop(serials))

    def _evict(self, opened: list[Opened], scores: list[Scores]) -> None:
        """Take the oldest decisions as void where more wait than may."""
        if len(self._decisions) <= self._most_rows:
            return
        sizes = [(bucket, len(self._decisions.bucket(bucket))) for bucket in self._decisions]
        over = sum(size for _, size in sizes) - self._most_rows
        for bucket, size in sizes:
            if over <= 0:
                break
            over -= size
            self._settle_before((bucket + 1) * self.metric.grain, True, opened, scores)

    def dump(self) -> dict[str, bytes]:
        """Give the whole written form: blocks of rows by time, of subjects by first exposure."""
        self._forget_touched()
        self._written = set(self._keys())
        return {key: self._pack(key) for key in sorted(self._written)}

    def changes(self) -> dict[str, bytes | None]:
        """Give the blocks that changed since the last call of this or :meth:`dump`; None: gone."""
        keys = set(self._keys())
        parts = self._parts()
        touched = {f"{name}/{each}" for name, part in parts.items() for each in part.touched}
        changed = {key: self._pack(key) for key in sorted(touched & keys | {"head"})}
        gone = dict.fromkeys(sorted(self._written - keys))
        self._forget_touched()
        self._written = keys
        return changed | gone

    def _parts(self) -> dict[str, BucketedRows | Enrolled]:
        return {
            "decisions": self._decisions,
            "reports": self._reports,
            "subjects": self._enrolled,
        }

    def _keys(self) -> list[str]:
        rows = {"decisions": self._decisions, "reports": self._reports}
        keys = [f"{name}/{bucket}" for name, part in rows.items() for bucket in part]
        return ["head", *keys, *(f"subjects/{block}" for block in self._enrolled.blocks())]

    def _forget_touched(self) -> None:
        for part in self._parts().values():
            part.touched.clear()

    def _pack(self, key: str) -> bytes:
        if key != "head":
            name, _, number = key.partition("/")
            return self._parts()[name].pack(int(number))
        head = _Head(
            metric=self.metric,
            variations=self._variations,
            watermark=self.watermark,
            settled=self._settled,
            counts=self.counts,
            withdrawals=self._withdrawals.tobytes(),
            limits=[self._most_units, self._most_rows],
        )
        return pack(_KIND, _VERSION, head)

    @classmethod
    def load(cls, blocks: Mapping[str, bytes]) -> Self:
        """Read the written form; limits and metric are those that it was written with."""
        if "head" not in blocks:
            raise StateError(f"state {_KIND!r} has no head: bring back the recovery store's copy")
        head = unpack(_KIND, _VERSION, _Head, blocks["head"])
        units, rows = head.limits
        scores = cls(head.metric, head.variations, most_units=units, most_rows=rows)
        scores.watermark, scores._settled = head.watermark, head.settled
        scores.counts = head.counts
        scores._withdrawals = np.frombuffer(head.withdrawals, dtype=_WITHDRAWAL).copy()
        subjects: dict[int, bytes] = {}
        for key, data in blocks.items():
            name, _, number = key.partition("/")
            if name == "decisions":
                scores._decisions.unpack(int(number), data)
            elif name == "reports":
                scores._reports.unpack(int(number), data)
                scores._unmatched.add(int(number))
            elif name == "subjects":
                subjects[int(number)] = data
        if subjects:
            scores._enrolled.load(subjects)
        scores._written = set(blocks)
        return scores
