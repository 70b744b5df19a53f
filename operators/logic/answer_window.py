"""How far event time may go on before the answers to requests can have come back."""

from collections import deque

from schemas.clock import ALWAYS, NEVER


class AnswerProgress:
    """Up to which event time the requests of each shard are answered, as the steps report it.

    A shard's batches are admitted in their order, each up to a watermark and with some requests to
    answer, which are answered in about that order. Shards are named by their keys.

    >>> progress = AnswerProgress()
    >>> progress.until("s") == NEVER
    True
    >>> progress.admit("s", watermark=10, requests=2)
    >>> progress.admit("s", watermark=20, requests=0)
    >>> progress.answer("s", requests=1)
    >>> progress.until("s") == NEVER
    True
    >>> progress.answer("s", requests=1)
    >>> progress.until("s")
    20
    """

    def __init__(self) -> None:
        self._until: dict[str, int] = {}
        self._under_way: dict[str, deque[tuple[int, int]]] = {}
        """Of each batch that is not answered yet its watermark and how many requests are open."""

    def admit(self, shard: str, watermark: int, requests: int) -> None:
        """Note a batch of which so many requests are to be answered."""
        under_way = self._under_way.setdefault(shard, deque())
        under_way.append((watermark, requests))
        self._advance(shard)

    def answer(self, shard: str, requests: int) -> None:
        """Note so many answers."""
        under_way = self._under_way.get(shard)
        while requests and under_way:
            watermark, open_ = under_way.popleft()
            done = min(open_, requests)
            requests -= done
            under_way.appendleft((watermark, open_ - done))
            self._advance(shard)

    def until(self, shard: str) -> int:
        """Give the event time up to which all admitted requests are answered."""
        return self._until.get(shard, NEVER)

    def _advance(self, shard: str) -> None:
        under_way = self._under_way[shard]
        while under_way and not under_way[0][1]:
            self._until[shard] = max(self.until(shard), under_way.popleft()[0])


class AnswerWindow:
    """Bounds the event time that passes while the answers to requests are on their way.

    A flow that is far behind reads requests much faster than they came, and its answers come back
    over their own topic some time later: after a start the first have to wait for the catalog and
    for the kernels. So that they, and the events that follow them, do not come too late to count,
    at most ``span`` of event time is released until what was released is answered and what was
    written has come back. Where nothing comes back, nothing may have been written: that is waited
    for no longer than ``wait``, and for all of it no longer than ``longest`` of a steady clock; all
    are in microseconds. Live traffic never meets the bound.

    >>> window = AnswerWindow(span=30, wait=5, longest=50)
    >>> window.until(None, now=0, answered=True, on_their_way=False, read=7) == ALWAYS
    True
    >>> steps = [
    ...     (100, 0, True, False, 7),
    ...     (129, 9, False, False, 7),
    ...     (131, 10, True, True, 7),
    ...     (131, 11, True, False, 8),
    ...     (162, 12, True, False, 8),
    ...     (162, 17, True, False, 8),
    ... ]
    >>> [window.until(*each) for each in steps]
    [130, 130, 130, 161, 161, 192]
    """

    def __init__(self, span: int, wait: int, longest: int) -> None:
        self._span, self._wait, self._longest = span, wait, longest
        self._opened: int | None = None
        self._answered: int | None = None
        """Since when everything was seen to be answered, and nothing to be on its way."""
        self._read = 0
        self._end = ALWAYS

    def until(
        self, asked: int | None, now: int, answered: bool, on_their_way: bool, read: int
    ) -> int:
        """Give the latest time that may be released at ``now``.

        ``asked`` is that of the first request to be released whose answer is not to be expected on
        the topic of answers yet; None where there is none. ``answered`` says that all requests that
        were released are answered, ``on_their_way`` that answers were written and not read;
        ``read`` is the offset up to which they were read.
        """
        if self._opened is not None and self._is_over(now, answered and not on_their_way, read):
            self._opened = self._answered = None
        if self._opened is None:
            if asked is None:
                return ALWAYS
            self._opened, self._read, self._end = now, read, asked + self._span
        return self._end

    def _is_over(self, now: int, settled: bool, read: int) -> bool:
        assert self._opened is not None
        if now - self._opened >= self._longest:
            return True
        if not settled:
            self._answered = None
            return False
        if now > self._opened and read > self._read:
            return True
        if self._answered is None:
            self._answered = now
        return now - self._answered >= self._wait
