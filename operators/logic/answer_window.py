"""How far event time may go on before the answers to requests can have come back."""

from schemas.clock import ALWAYS


class AnswerWindow:
    """Bounds the event time that passes while the answers to requests are on their way.

    A flow that is far behind reads requests much faster than they came, and its answers come back
    over their topic some time later. So that they do not come too late to count, at most ``span``
    of event time is released until the answers have come, in no less than ``wait`` and no more
    than ``longest`` of a steady clock; all are in microseconds. Live traffic never meets the bound.

    >>> window = AnswerWindow(span=30, wait=5, longest=50)
    >>> window.until(None, now=0, on_their_way=False) == ALWAYS
    True
    >>> asked = [(100, 0, False), (129, 4, False), (131, 9, True), (131, 10, False)]
    >>> [window.until(*each) for each in asked]
    [130, 130, 130, 161]
    """

    def __init__(self, span: int, wait: int, longest: int) -> None:
        self._span, self._wait, self._longest = span, wait, longest
        self._opened: int | None = None
        self._end = ALWAYS

    def until(self, asked: int | None, now: int, on_their_way: bool) -> int:
        """Give the latest time that may be released at ``now``.

        ``asked`` is that of the first request to be released whose answer is not to be expected on
        the topic of answers yet; None where there is none. ``on_their_way`` says that answers were
        written and not read.
        """
        if self._opened is not None:
            least = self._longest if on_their_way else self._wait
            if now - self._opened >= least:
                self._opened = None
        if self._opened is None:
            if asked is None:
                return ALWAYS
            self._opened, self._end = now, asked + self._span
        return self._end
