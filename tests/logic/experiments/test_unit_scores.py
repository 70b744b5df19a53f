"""Scores by unit against a recount from the full lists, however these arrive."""

import random
from collections import Counter, defaultdict
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.logic.experiments.enrolled import BLOCK
from operators.logic.experiments.sample_ratio import SampleRatio
from operators.logic.experiments.score_columns import (
    ACTIVATED,
    NOT_EXPOSED,
    VOID,
    decision_rows,
    report_flags,
    report_rows,
)
from operators.logic.experiments.scored_metric import ScoredMetric, ScoreError
from operators.logic.experiments.unit_scores import UnitScores
from schemas.state import StateError

ARMS = 3
FAR = 10**9


class Decided(NamedTuple):
    key: int
    unit: int
    at: int
    variation: int
    segment: int
    probabilities: tuple[float, ...]


class Reported(NamedTuple):
    key: int
    at: int
    revision: int
    value: float
    flags: int


class Withdrawn(NamedTuple):
    unit: int
    at: int


def give(scores, records):
    """Hand over records of any kinds, as they come."""
    by_kind = defaultdict(list)
    for record in records:
        by_kind[type(record)].append(record)
    for kind, some in by_kind.items():
        columns = {name: np.array([getattr(each, name) for each in some]) for name in kind._fields}
        for name in ("key", "unit"):
            if name in columns:
                columns[name] = columns[name].astype(np.uint64)
        if kind is Decided:
            scores.add_decisions(decision_rows(**columns))
        elif kind is Reported:
            scores.add_reports(report_rows(**columns))
        else:
            scores.withdraw(columns["unit"], columns["at"])


def tuples(scores):
    columns = (
        scores.closing, scores.unit, scores.first, scores.variation, scores.segment, scores.value,
        scores.capped, scores.mixed,
    )  # fmt: skip
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [(*row, tuple(p)) for row, p in zip(rows, scores.probabilities.tolist(), strict=True)]


def recount(metric, records, most_units=FAR):
    """Score every unit from the full lists: scores in order, and what was dropped by variation."""
    last, active = {}, set()
    for report in {each for each in records if isinstance(each, Reported)}:
        if report.key not in last or report.revision > last[report.key].revision:
            last[report.key] = report
        if report.flags & ACTIVATED:
            active.add(report.key)
    withdrawn = {each for each in records if isinstance(each, Withdrawn)}
    units = defaultdict(list)
    for each in {each for each in records if isinstance(each, Decided)}:
        units[each.unit].append(each)

    def exposes(decided):
        return (
            decided.variation != NOT_EXPOSED
            and (decided.key in active or not metric.activated_only)
            and (metric.start is None or decided.at >= metric.start)
            and (metric.end is None or decided.at < metric.end)
        )

    def value(decided):
        if decided.key in active:
            return last[decided.key].value
        return 0.0 if metric.activated_only else metric.default_reward

    exposed = []
    for unit, decisions in units.items():
        decisions.sort(key=lambda each: (each.at, each.key))
        first = next((each for each in decisions if exposes(each)), None)
        if first is not None:
            exposed.append((first.at, unit, first))
    scores, dropped = [], Counter()
    for at, unit, first in sorted(exposed)[:most_units]:
        window = [each for each in units[unit] if at <= each.at <= at + metric.span]
        closing = at + metric.span + metric.settle
        gone = any(each.key in last and last[each.key].flags & VOID for each in window)
        if gone or any(w.unit == unit and at <= w.at <= closing for w in withdrawn):
            dropped[first.variation] += 1
            continue
        total = 0.0
        for each in window:
            total += value(each)
        cap = total if metric.cap is None else metric.cap
        mixed = any(exposes(each) and each.variation != first.variation for each in window)
        scores.append(
            (closing, unit, at, first.variation, first.segment, min(total, cap), total > cap,
             mixed, first.probabilities)
        )  # fmt: skip
    return scores, dropped


@st.composite
def metrics(draw, unit):
    start = draw(st.none() | st.integers(0, 30))
    return ScoredMetric(
        unit=unit,
        settle=draw(st.integers(0, 20)),
        span=draw(st.integers(0, 40)) if unit == "subject" else 0,
        cap=draw(st.none() | st.floats(0.1, 2.0)),
        activated_only=draw(st.booleans()),
        default_reward=draw(st.sampled_from([0.0, 0.25])),
        start=start,
        end=draw(st.none() | st.integers(start or 0, 90)),
        grain=draw(st.integers(1, 12)),
    )


@st.composite
def histories(draw, unit):
    """Decisions of a few units, with reports of revisions, and withdrawals."""
    seed = draw(st.integers(0, 2**32))
    rng = random.Random(seed)
    records = []
    for key in range(draw(st.integers(0, 40))):
        at, subject = rng.randrange(100), rng.randrange(8) if unit == "subject" else key
        variation = rng.choice([NOT_EXPOSED, 0, 0, 1, 2])
        # What a subject's probabilities are changes along a ramp.
        p = (0.5, 0.25, 0.25) if at < 50 else (0.2, 0.2, 0.6)
        records.append(Decided(key, subject, at, variation, rng.randrange(3), p))
        for revision in range(rng.randrange(4)):
            flags = rng.choice([ACTIVATED, ACTIVATED, ACTIVATED, 0])
            flags = VOID if rng.random() < 0.04 else flags
            records.append(Reported(key, at, revision, rng.random(), flags))
    # Of decisions that are not the experiment's:
    records += [Reported(key, rng.randrange(100), 0, 1.0, ACTIVATED) for key in range(100, 105)]
    if unit == "subject":
        records += [
            Withdrawn(rng.randrange(8), rng.randrange(160)) for _ in range(rng.randrange(4))
        ]
    return records, rng


def deadline(metric, record):
    """Give the last watermark at which a record is not late."""
    return record.at + (metric.settle if isinstance(record, Reported) else 0)


def play(metric, records, rng, most_units=FAR):
    """Give records in any order, each once in time and some again, through dumps and loads."""
    scores = UnitScores(metric, ARMS, most_units=most_units)
    stored = scores.dump()
    left = rng.sample(records, len(records))
    released = []
    while left:
        count = rng.randrange(1, 12)
        batch, left = left[:count], left[count:]
        give(scores, rng.sample(again := batch + rng.choices(records, k=2), len(again)))
        watermark = min((deadline(metric, record) for record in left), default=120)
        released.append(scores.advance(watermark - rng.randrange(5)))
        for key, block in scores.changes().items():
            stored.pop(key, None)
            if block is not None:
                stored[key] = block
        if rng.random() < 0.3:
            assert stored == scores.dump()
            scores = UnitScores.load(stored)
    released.append(scores.advance(FAR))
    more = scores.advance(FAR)
    assert not len(more.scores)
    assert not len(more.opened.variation)
    assert scores.waiting == 0
    return scores, released


@pytest.mark.parametrize("unit", ["subject", "decision"])
@given(st.data())
def test_scores_are_those_of_a_recount_however_records_arrive(unit, data):
    metric = data.draw(metrics(unit))
    records, rng = data.draw(histories(unit))
    expected, dropped = recount(metric, records)
    scores, released = play(metric, records, rng)
    found = [row for step in released for row in tuples(step.scores)]
    assert found == expected
    assert scores.counts.dropped == [dropped[arm] for arm in range(ARMS)]
    assert scores.counts.released == [sum(row[3] == arm for row in found) for arm in range(ARMS)]
    assert scores.counts.capped == [
        sum(row[6] for row in found if row[3] == arm) for arm in range(ARMS)
    ]
    opened = Counter(arm for step in released for arm in step.opened.variation.tolist())
    assert scores.counts.exposed == [opened[arm] for arm in range(ARMS)]
    total = Counter(row[3] for row in found) + dropped
    assert opened == total


@given(st.data())
def test_a_score_is_released_only_when_its_window_has_closed(data):
    metric = data.draw(metrics("subject"))
    records, rng = data.draw(histories("subject"))
    expected, _ = recount(metric, records)
    scores = UnitScores(metric, ARMS)
    give(scores, records)
    found, watermark = [], 0
    while watermark < 300:
        watermark += rng.randrange(1, 25)
        found += tuples(scores.advance(watermark).scores)
        assert all(row[0] < watermark for row in found)
        until = watermark - metric.grain - 1
        assert found[: len(found)] == expected[: len(found)]
        assert len(found) >= sum(row[0] < until for row in expected)


@given(st.data())
def test_no_more_units_than_may_be_are_scored_and_those_are_the_first(data):
    metric = data.draw(metrics("subject"))
    records, rng = data.draw(histories("subject"))
    expected, dropped = recount(metric, records, most_units=3)
    scores, released = play(metric, records, rng, most_units=3)
    assert [row for step in released for row in tuples(step.scores)] == expected
    assert scores.counts.dropped == [dropped[arm] for arm in range(ARMS)]


SUBJECT = ScoredMetric(unit="subject", settle=10, span=100, grain=1)
HALF = (0.5, 0.5, 0.0)


def decided(key, unit, at, variation=0, segment=0):
    return Decided(key, unit, at, variation, segment, HALF)


def clicked(key, at, value=1.0, revision=1):
    return Reported(key, at, revision, value, ACTIVATED)


def scored(metric, records, watermark=FAR):
    scores = UnitScores(metric, ARMS)
    give(scores, records)
    return scores, tuples(scores.advance(watermark).scores)


def test_a_subject_exposed_just_now_is_in_no_denominator():
    _, rows = scored(SUBJECT, [decided(1, 1, 0), clicked(1, 0)], watermark=110)
    assert rows == []
    _, rows = scored(SUBJECT, [decided(1, 1, 0), clicked(1, 0)], watermark=111)
    assert len(rows) == 1


def test_a_subject_counts_once_however_often_it_converts_and_on_however_many_days():
    visits = [decided(key, 7, 200 * key) for key in range(5)]
    records = [*visits, *(clicked(each.key, each.at) for each in visits)]
    scores, rows = scored(SUBJECT, records)
    assert [(row[1], row[5]) for row in rows] == [(7, 1.0)]
    assert scores.counts.exposed == [1, 0, 0]


def test_the_segment_and_the_probability_are_those_at_first_exposure():
    later = decided(2, 7, 50, segment=2)._replace(probabilities=(0.9, 0.1, 0.0))
    first = decided(1, 7, 0, segment=1)
    _, rows = scored(SUBJECT, [later, clicked(2, 50), first, clicked(1, 0)])
    assert [(row[4], row[8]) for row in rows] == [(1, HALF)]


def test_a_subject_seen_in_both_arms_counts_once_by_first_exposure_and_is_shown_as_mixed():
    records = [decided(1, 7, 0, 0), clicked(1, 0), decided(2, 7, 5, 1), clicked(2, 5)]
    scores, rows = scored(SUBJECT, records)
    assert [(row[3], row[5], row[7]) for row in rows] == [(0, 2.0, True)]
    assert scores.counts.mixed == [1, 0, 0]


def test_after_the_end_nobody_is_exposed_and_those_before_are_scored_until_they_close():
    scores = UnitScores(SUBJECT, ARMS)
    scores.end(50)
    give(scores, [decided(1, 1, 49), clicked(1, 49), decided(2, 1, 60), clicked(2, 60)])
    give(scores, [decided(3, 2, 50), clicked(3, 50)])
    assert not len(scores.advance(159).scores)
    assert not scores.finished
    assert [(row[1], row[5]) for row in tuples(scores.advance(161).scores)] == [(1, 2.0)]
    assert scores.finished
    give(scores, [decided(4, 3, 40), clicked(4, 40)])
    assert not len(scores.advance(FAR).scores)
    assert (scores.counts.late_decisions, scores.counts.late_reports) == (1, 1)
    assert scores.counts.released == [1, 0, 0]


def test_the_capped_total_is_the_metric_and_its_share_is_counted():
    metric = replace(SUBJECT, cap=1.5)
    records = [decided(1, 1, 0), clicked(1, 0), decided(2, 1, 1), clicked(2, 1)]
    scores, rows = scored(metric, [*records, decided(3, 2, 0), clicked(3, 0)])
    assert [row[5:7] for row in rows] == [(1.5, True), (1.0, False)]
    assert scores.counts.capped == [1, 0, 0]
    assert metric.may_act
    assert not SUBJECT.may_act
    assert ScoredMetric(unit="decision", settle=1).may_act


def test_the_highest_revision_holds_whatever_comes_again():
    records = [clicked(1, 0, 0.2, 1), clicked(1, 0, 0.9, 3), clicked(1, 0, 0.5, 2)]
    _, rows = scored(SUBJECT, [decided(1, 1, 0), *records, *records[::-1]])
    assert [row[5] for row in rows] == [0.9]


def test_what_comes_after_closing_is_counted_and_changes_nothing():
    scores, rows = scored(SUBJECT, [decided(1, 1, 0), clicked(1, 0, 0.5)], watermark=200)
    give(scores, [clicked(1, 0, 1.0, 9), decided(2, 2, 10)])
    assert tuples(scores.advance(FAR).scores) == []
    assert [row[5] for row in rows] == [0.5]
    assert (scores.counts.late_reports, scores.counts.late_decisions) == (1, 1)


def test_a_withdrawal_drops_an_open_unit_and_leaves_a_closed_score():
    records = [decided(1, 1, 0, 1), clicked(1, 0), decided(2, 2, 90, 0), clicked(2, 90)]
    scores, rows = scored(SUBJECT, [*records, Withdrawn(1, 111), Withdrawn(2, 111)])
    assert [row[1] for row in rows] == [1]
    assert scores.counts.dropped == [1, 0, 0]


@pytest.mark.parametrize(("at", "dropped"), [(19, 0), (20, 1), (130, 1), (131, 0)])
def test_a_withdrawal_counts_from_the_first_exposure_to_the_closing(at, dropped):
    """Given when the watermark has come to it, which is no matter."""
    scores = UnitScores(SUBJECT, ARMS)
    give(scores, [decided(1, 1, 20), clicked(1, 20)])
    released = len(scores.advance(min(at, 30)).scores)
    give(scores, [Withdrawn(1, at)])
    for watermark in (30, 60, at, FAR):
        released += len(scores.advance(watermark).scores)
    assert scores.counts.dropped == [dropped, 0, 0]
    assert released == 1 - dropped


def test_a_withdrawal_that_comes_again_after_closing_changes_nothing():
    scores, rows = scored(SUBJECT, [decided(1, 1, 0), clicked(1, 0)], watermark=200)
    give(scores, [Withdrawn(1, 100)])
    assert not len(scores.advance(FAR).scores)
    assert len(rows) == 1
    assert scores.counts.dropped == [0, 0, 0]
    assert scores.counts.late_withdrawals == 1


def test_a_void_outcome_drops_the_whole_subject_and_a_missed_impression_does_not():
    void = Reported(2, 5, 2**31 - 1, 0.0, report_flags("void", False, "erased"))
    records = [decided(1, 1, 0, 1), clicked(1, 0), decided(2, 1, 5), void]
    scores, rows = scored(SUBJECT, records)
    assert rows == []
    assert scores.counts.dropped == [0, 1, 0]
    missed = void._replace(flags=report_flags("void", False, "not_activated"))
    _, rows = scored(SUBJECT, [*records[:3], missed])
    assert [row[5] for row in rows] == [1.0]


def test_decisions_that_were_not_activated_count_as_declared():
    records = [decided(1, 1, 0, 0), decided(2, 2, 0, 1), clicked(2, 0)]
    _, rows = scored(SUBJECT, records)
    assert [row[1] for row in rows] == [2]
    everyone = replace(SUBJECT, activated_only=False, default_reward=0.25)
    _, rows = scored(everyone, records)
    assert [(row[1], row[5]) for row in rows] == [(1, 0.25), (2, 1.0)]


def test_too_many_decisions_drop_the_oldest_with_their_units_and_say_so():
    scores = UnitScores(replace(SUBJECT, activated_only=False), ARMS, most_rows=3)
    give(scores, [decided(key, key, key, 1) for key in range(5)])
    assert not len(scores.advance(5).scores)
    assert (scores.counts.evicted, scores.counts.dropped) == (2, [0, 2, 0])
    assert [row[1] for row in tuples(scores.advance(FAR).scores)] == [2, 3, 4]


def visits(rng, subjects, kept):
    """Two visits of each subject: drawn once, shown with a probability that depends on the arm."""
    arms = rng.integers(0, 2, subjects)
    units = np.repeat(rng.permutation(subjects).astype(np.uint64), 2)
    at = np.concatenate([np.sort(rng.integers(0, 1_000, 2)) for _ in range(subjects)])
    key, arms = np.arange(2 * subjects, dtype=np.uint64), np.repeat(arms, 2)
    shown = rng.random(2 * subjects) < np.array(kept)[arms]
    rows = decision_rows(
        key=key,
        unit=units,
        at=at,
        variation=arms,
        probabilities=np.full((2 * subjects, 2), 0.5),
        segment=np.zeros(2 * subjects, dtype=np.int64),
    )
    reports = report_rows(
        key=key,
        at=at,
        revision=np.ones(2 * subjects, dtype=np.int64),
        value=np.ones(2 * subjects),
        flags=np.where(shown, ACTIVATED, 0),
    )
    return rows, reports


@pytest.mark.parametrize(("kept", "alarm"), [((0.5, 0.5), False), ((0.5, 0.4), True)])
def test_who_is_first_exposed_makes_the_sample_ratio(kept, alarm):
    """20,000 subjects who visit twice; an arm whose page often fails to show has fewer of them."""
    rows, reports = visits(np.random.default_rng(7), 20_000, kept)
    scores, ratio = UnitScores(SUBJECT, 2), SampleRatio(["a", "b"])
    scores.add_decisions(rows)
    scores.add_reports(reports)
    for watermark in (300, 700, FAR):
        opened = scores.advance(watermark).opened
        ratio.add(opened.variation, opened.probabilities)
    assert ratio.count == sum(scores.counts.exposed) < 20_000
    assert ratio.verdict().alarm is alarm


def test_an_input_that_is_none_is_refused():
    with pytest.raises(ScoreError, match="finite"):
        give(UnitScores(SUBJECT, ARMS), [clicked(1, 0, float("nan"))])
    for variation in (2, 3, -2):  # one of probability 0, and two that there are not
        with pytest.raises(ScoreError, match="variation"):
            give(UnitScores(SUBJECT, ARMS), [decided(1, 1, 0, variation)])
    with pytest.raises(ScoreError, match="other variations"):
        give(UnitScores(SUBJECT, ARMS + 1), [decided(1, 1, 0)])
    with pytest.raises(ScoreError, match="void report"):
        give(UnitScores(ScoredMetric(unit="decision", settle=1), ARMS), [Withdrawn(1, 1)])
    for wrong in (
        {"unit": "decision"},
        {"cap": 0.0},
        {"settle": -1},
        {"start": 2, "end": 1},
    ):
        with pytest.raises(ScoreError):
            replace(SUBJECT, **wrong)
    with pytest.raises(StateError, match="no head"):
        UnitScores.load({})


def test_many_subjects_take_the_memory_of_those_that_are_open_and_are_read_back():
    """Three blocks of subjects, whose windows close one after the other."""
    rng = np.random.default_rng(5)
    units = rng.integers(0, 2**63, 3 * BLOCK, dtype=np.uint64)
    at = np.arange(3 * BLOCK, dtype=np.int64)
    scores, count = UnitScores(SUBJECT, ARMS), 0
    stored = scores.dump()
    for start in range(0, 3 * BLOCK, 500):
        part = slice(start, start + 500)
        size = len(units[part])
        scores.add_decisions(
            decision_rows(
                key=units[part],
                unit=units[part],
                at=at[part],
                variation=np.zeros(size, dtype=np.int64),
                probabilities=np.full((size, ARMS), 1.0 / ARMS),
                segment=np.zeros(size, dtype=np.int64),
            )
        )
        scores.add_reports(
            report_rows(
                key=units[part],
                at=at[part],
                revision=np.ones(size, dtype=np.int64),
                value=np.ones(size),
                flags=np.full(size, ACTIVATED),
            )
        )
        count += len(scores.advance(int(at[part][-1])).scores)
        for key, block in scores.changes().items():
            if block is None:
                del stored[key]
            else:
                stored[key] = block
        assert scores.waiting <= 500 + 2 * 20 + 200
        if start % 4_000 == 0:
            scores = UnitScores.load(stored)
    count += len(scores.advance(FAR).scores)
    assert count == len(units)
    assert scores.counts.released == [len(units), 0, 0]
