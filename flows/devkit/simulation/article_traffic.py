"""Visitors who ask for articles: each request brings its candidates, which no catalog names."""

import threading
from collections.abc import Sequence

import numpy as np

from flows.devkit.articles import Articles
from flows.devkit.demo_catalog import ARTICLES
from flows.devkit.simulation.answer import Answer
from flows.devkit.simulation.article_report import ArticleReport
from flows.devkit.simulation.article_script import ArticleScript
from flows.devkit.simulation.outbox import Outbox
from flows.devkit.simulation.record_writer import RecordWriter
from flows.devkit.simulation.tally import Answers, Tally
from flows.devkit.visitors import Visitors
from schemas.topics import Topic


class ArticleTraffic:
    """The requests for articles of a run, beside its other ones.

    Parameters
    ----------
    run, seed, visitors
        Those of the run.
    rate
        Requests per second.
    seconds
        How long to ask; None: until :meth:`end`.
    click_delay
        Mean seconds from seeing to clicking, exponential.
    """

    def __init__(
        self,
        run: str,
        seed: int,
        visitors: Visitors,
        rate: float,
        seconds: float | None,
        click_delay: float,
    ) -> None:
        self._visitors = visitors
        self._articles = Articles(visitors, seed)
        self._script = ArticleScript(visitors, self._articles, seed, rate)
        self._writer = RecordWriter(f"{run}.articles", visitors, ARTICLES)
        self._click_delay = click_delay
        self._last = None if seconds is None else self._script.count(seconds)
        self._asked = 0
        self._waiting: dict[int, float] = {}
        self._lock = threading.Lock()
        self._tally = Tally()
        self._different: set[str] = set()

    @property
    def over(self) -> bool:
        """Whether the last request was made."""
        return self._last is not None and self._asked >= self._last

    @property
    def unanswered(self) -> int:
        """Count the requests without an answer."""
        return len(self._waiting)

    def end(self) -> None:
        """Ask no more."""
        self._last = self._asked

    def ask(self, start: float, now: float, outbox: Outbox) -> None:
        """Make the requests that are due; times are seconds since 1970."""
        due = self._script.count(now - start)
        numbers = range(self._asked, due if self._last is None else min(due, self._last))
        for number in numbers:
            self._ask(number, now, outbox)
        if numbers:
            self._asked = numbers.stop
            with self._lock:
                self._tally.asked(int(now - start), len(numbers))

    def knows(self, answer: Answer) -> bool:
        """Say whether this answers a request for articles of this run."""
        number = self._writer.number(answer.decision_id)
        return number is not None and answer.action_id in self._offered(number)

    def see(self, answers: Sequence[Answer], start: float, now: float, outbox: Outbox) -> None:
        """Look at what was decided: everyone sees it, some will click."""
        first: list[tuple[int, float, Answer]] = []
        for answer in answers:
            number = self._writer.number(answer.decision_id)
            asked_at = None if number is None else self._waiting.pop(number, None)
            if number is not None and asked_at is not None:
                first.append((number, asked_at, answer))
        seen = self._react(first, start, now, outbox) if first else None
        with self._lock:
            self._tally.duplicate_answers += len(answers) - len(first)
            if seen is not None:
                self._tally.answered(seen)
                self._different.update(answer.action_id for _, _, answer in first)

    def report(self, elapsed: float) -> ArticleReport:
        """Say what is known after ``elapsed`` seconds; safe from any thread."""
        with self._lock:
            known = self._tally.report(elapsed, 0.0, {})
            different = len(self._different)
        policy, uniform = known.click_rate_policy, known.click_rate_uniform
        return ArticleReport(
            requests=known.requests,
            decisions=known.decisions,
            unanswered=known.unanswered,
            duplicate_answers=known.duplicate_answers,
            clicks=known.clicks,
            different=different,
            click_rate_policy=policy,
            click_rate_uniform=uniform,
            click_rate_best=known.click_rate_best,
            lift=policy / uniform if policy is not None and uniform else None,
            observed_click_rate_policy=known.observed_click_rate_policy,
            observed_click_rate_uniform=known.observed_click_rate_uniform,
            latency_p50_ms=known.latency_p50_ms,
            latency_p99_ms=known.latency_p99_ms,
        )

    def _ask(self, number: int, now: float, outbox: Outbox) -> None:
        asked, articles = self._script.request(number), self._articles
        value = self._writer.bringing(
            number,
            asked.user,
            articles.context(asked.user, asked.hour),
            {articles.action_id(n): articles.features(n) for n in asked.offered.tolist()},
            now,
        )
        self._waiting[number] = now
        outbox.put(Topic.DECISION_REQUESTS, self._writer.keys[asked.user], value, now, now)

    def _offered(self, number: int) -> dict[str, int]:
        """Give the number of each article that a request brought, by its id."""
        offered = self._script.request(number).offered.tolist()
        return {self._articles.action_id(n): n for n in offered}

    def _react(
        self,
        answers: Sequence[tuple[int, float, Answer]],
        start: float,
        now: float,
        outbox: Outbox,
    ) -> Answers:
        writer, p, best, clicked = self._writer, [], [], []
        for number, _, answer in answers:
            asked = self._script.request(number)
            chances = self._articles.p(np.full(len(asked.offered), asked.user), asked.offered)
            shown = list(self._offered(number)).index(answer.action_id)
            p.append(float(chances[shown]))
            best.append(float(chances.max()))
            clicked.append(asked.click < chances[shown])
            key, user = writer.keys[asked.user], asked.user
            seen = writer.impression(number, user, answer.action_id, now)
            outbox.put(Topic.IMPRESSIONS, key, seen, now, now)
            if clicked[-1]:
                at = now + self._click_delay * asked.delay
                outbox.put(Topic.CLICKS, key, writer.click(number, user, at), at, now)
        decided = np.array([answer.time.timestamp() for _, _, answer in answers])
        learned = [a.policy_time.timestamp() if a.policy_time else start for _, _, a in answers]
        return Answers(
            second=(decided - start).astype(np.intp),
            held_out=np.array([answer.held_out for _, _, answer in answers]),
            p=np.array(p),
            best=np.array(best),
            clicked=np.array(clicked),
            latency=now - np.array([asked_at for _, asked_at, _ in answers]),
            staleness=np.maximum(decided - np.array(learned), 0.0),
        )
