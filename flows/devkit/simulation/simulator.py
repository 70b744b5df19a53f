"""The closed loop: visitors ask at a set rate, see what was decided, and click by their tastes."""

import threading
import time
from collections.abc import Callable

import msgspec
import numpy as np

from flows.devkit.demo_catalog import action_id
from flows.devkit.simulation.answer import Answer
from flows.devkit.simulation.arrivals import Arrivals
from flows.devkit.simulation.article_traffic import ArticleTraffic
from flows.devkit.simulation.injection import Injection
from flows.devkit.simulation.injector import Injector
from flows.devkit.simulation.outbox import Outbox
from flows.devkit.simulation.record_writer import RecordWriter
from flows.devkit.simulation.script import CLICK, DISORDER, DUPLICATE, IMPRESSION, REQUEST, Script
from flows.devkit.simulation.tally import Answers, SimulatorReport, Tally
from flows.devkit.simulation.wire import Wire
from flows.devkit.visitors import TAG, Indices, Visitors
from schemas.settings import Settings
from schemas.topics import Topic

_TICK = 0.005
"""Seconds between looks at what is due."""


class Simulator:
    """Simulated visitors on the topics of a deployment.

    Parameters
    ----------
    settings
        Where Kafka is, and what its topics are called.
    rate
        Requests per second.
    seed
        The same seed gives the same visitors, tastes, sequence of requests and wishes to click.
    seconds
        How long to ask; None: until :meth:`stop`.
    actions
        The number of content variants in the catalog.
    arrivals
        ``poisson`` or ``even``.
    consent_share
        The share of visitors who consent to a profile; of the others nothing is known.
    click_delay
        Mean seconds from seeing to clicking, exponential.
    injection
        What goes wrong on purpose.
    patience
        Seconds without any answer after which the unanswered requests are given up.
    run
        Names the run in every id; two runs on one deployment need different names.
    articles
        Requests that bring articles, as a share of ``rate`` and beside it: the others are the same
        with them and without. Nothing is injected into them.
    """

    def __init__(
        self,
        settings: Settings,
        rate: float = 1000.0,
        seed: int = 7,
        seconds: float | None = None,
        *,
        actions: int = 20,
        arrivals: str = "poisson",
        consent_share: float = 0.95,
        click_delay: float = 1.0,
        injection: Injection | None = None,
        patience: float = 30.0,
        run: str | None = None,
        articles: float = 0.0,
    ) -> None:
        self._settings = settings
        self._seed = seed
        self._consent_share, self._click_delay = consent_share, click_delay
        self._injection = injection or Injection()
        self._patience = patience
        self.run_id = run or f"s{seed}.{time.time_ns() // 1_000_000:x}"
        self.visitors = Visitors(seed, actions)
        self._best = self.visitors.best()
        self._script = Script(self.visitors, seed)
        self._arrivals = Arrivals(self._script, rate, seconds, even=arrivals == "even")
        self._places = {action_id(place): place for place in range(actions)}
        self._writer = RecordWriter(self.run_id, self.visitors)
        self._articles = (
            ArticleTraffic(self.run_id, seed, self.visitors, articles * rate, seconds, click_delay)
            if articles
            else None
        )
        self._decoder = msgspec.json.Decoder(Answer)
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._tally = Tally()
        self._injected: dict[str, int] = {}
        self._pending: dict[int, float] = {}
        self._start = self._cpu = self._ended = 0.0

    @property
    def started(self) -> bool:
        """Whether requests are being asked."""
        return self._start > 0.0

    def stop(self) -> None:
        """Ask no more; :meth:`run` then drains and returns. Safe from any thread or signal."""
        self._stopping.set()

    def progress(self) -> SimulatorReport:
        """Say what is known so far; safe from any thread."""
        with self._lock:
            elapsed = (self._ended or time.time()) - self._start if self._start else 0.0
            cpu = time.process_time() - self._cpu if self._start else 0.0
            report = self._tally.report(elapsed, cpu, dict(self._injected))
        if self._articles is not None:
            report.articles = self._articles.report(elapsed)
        return report

    def run(self, each_second: Callable[[SimulatorReport], None] | None = None) -> SimulatorReport:
        """Run to the end: consents, requests, and the wait for the last answers and clicks.

        ``each_second`` is given the progress about once a second.
        """
        wire = Wire(self._settings)
        outbox = Outbox(wire, self._injection)
        injector = Injector(outbox, self._writer, self._injection, self._seed)
        try:
            self._consent(wire)
            self._start, self._cpu = time.time(), time.process_time()
            reported = heard = self._start
            while not self._over(outbox, heard):
                now = time.time()
                self._ask(now, outbox, injector)
                if self._articles is not None:
                    self._articles.ask(self._start, now, outbox)
                outbox.send_due(now)
                payloads = wire.receive(_TICK)
                if payloads:
                    heard = time.time()
                    self._see(payloads, heard, outbox)
                if each_second is not None and now - reported >= 1.0:
                    reported = now
                    each_second(self.progress())
            wire.flush()
            with self._lock:
                self._ended = time.time()
                self._tally.undelivered = wire.undelivered
            return self.progress()
        finally:
            wire.close()

    def _consent(self, wire: Wire) -> None:
        rng = np.random.default_rng([TAG, self._seed, 2])
        now = time.time()
        for user in np.flatnonzero(
            rng.random(len(self._writer.keys)) < self._consent_share
        ).tolist():
            wire.send(Topic.CONSENTS, self._writer.keys[user], self._writer.consent(user, now))
        wire.flush()

    def _over(self, outbox: Outbox, heard: float) -> bool:
        """Say whether everything was asked, and answered or given up, and the last click sent."""
        articles = self._articles
        if self._stopping.is_set():
            self._arrivals.end()
            if articles is not None:
                articles.end()
        if not self._arrivals.over or outbox or (articles is not None and not articles.over):
            return False
        waiting = bool(self._pending) or (articles is not None and articles.unanswered > 0)
        return not waiting or time.time() - max(heard, self._start) > self._patience

    def _ask(self, now: float, outbox: Outbox, injector: Injector) -> None:
        writer, keys = self._writer, self._writer.keys
        asked = 0
        for first, fate in self._arrivals.due(now - self._start):
            duplicate = fate.chances[:, DUPLICATE, REQUEST].tolist()
            disorder = fate.chances[:, DISORDER, REQUEST].tolist()
            rows = zip(fate.users.tolist(), fate.hours.tolist(), duplicate, disorder, strict=True)
            for number, (user, hour, twice, later) in enumerate(rows, first):
                value = writer.request(number, user, hour, now)
                self._pending[number] = outbox.put(
                    Topic.DECISION_REQUESTS, keys[user], value, now, now, twice, later
                )
            injector.inject(first, fate, now)
            asked += len(fate.users)
        if asked:
            with self._lock:
                self._tally.asked(int(now - self._start), asked)
                self._injected = dict(outbox.injected)

    def _see(self, payloads: list[bytes], now: float, outbox: Outbox) -> None:
        """Look at what was decided: everyone sees it, some will click."""
        numbers, kept, sent, foreign, repeated = [], [], [], 0, 0
        of_articles = []
        for payload in payloads:
            answer = self._answer(payload)
            if answer is not None and self._articles is not None and self._articles.knows(answer):
                of_articles.append(answer)
                continue
            number = None if answer is None else self._number(answer)
            if answer is None or number is None:
                foreign += 1
                continue
            asked_at = self._pending.pop(number, None)
            if asked_at is None:
                repeated += 1
                continue
            numbers.append(number)
            kept.append(answer)
            sent.append(asked_at)
        if self._articles is not None and of_articles:
            self._articles.see(of_articles, self._start, now, outbox)
        seen = self._react(np.array(numbers), kept, now, outbox) if kept else None
        with self._lock:
            self._injected = dict(outbox.injected)
            self._tally.foreign += foreign
            self._tally.duplicate_answers += repeated
            if seen is not None:
                seen.latency = now - np.array(sent)
                self._tally.answered(seen)

    def _answer(self, payload: bytes) -> Answer | None:
        """Read a decision; None where it is none of ours: anybody may write to the topic."""
        try:
            return self._decoder.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None

    def _number(self, answer: Answer) -> int | None:
        """Give the number of the request that this answers with a variant that there is."""
        known = answer.action_id in self._places
        return self._writer.number(answer.decision_id) if known else None

    def _react(
        self, numbers: Indices, answers: list[Answer], now: float, outbox: Outbox
    ) -> Answers:
        fate = self._script.rows(numbers)
        places = np.array([self._places[answer.action_id] for answer in answers])
        p = self.visitors.click[fate.users, fate.hours, places]
        clicked = fate.click < p
        writer, keys = self._writer, self._writer.keys
        chances = fate.chances
        rows = zip(
            numbers.tolist(),
            answers,
            fate.users.tolist(),
            chances[:, DUPLICATE, IMPRESSION].tolist(),
            chances[:, DISORDER, IMPRESSION].tolist(),
            strict=True,
        )
        for number, answer, user, twice, later in rows:
            value = writer.impression(number, user, answer.action_id, now)
            outbox.put(Topic.IMPRESSIONS, keys[user], value, now, now, twice, later)
        for row in np.flatnonzero(clicked).tolist():
            user, at = int(fate.users[row]), now + self._click_delay * float(fate.delay[row])
            outbox.put(
                Topic.CLICKS,
                keys[user],
                writer.click(int(numbers[row]), user, at),
                at,
                now,
                float(chances[row, DUPLICATE, CLICK]),
                float(chances[row, DISORDER, CLICK]),
            )
        asked = np.array([answer.time.timestamp() for answer in answers])
        learned = [a.policy_time.timestamp() if a.policy_time else self._start for a in answers]
        return Answers(
            second=(asked - self._start).astype(np.intp),
            held_out=np.array([answer.held_out for answer in answers]),
            p=p,
            best=self._best[fate.users, fate.hours],
            clicked=clicked,
            latency=np.zeros(len(answers)),
            staleness=np.maximum(asked - np.array(learned), 0.0),
        )
