"""Requests of slots whose features are not declared: what is known of them, and their rows."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from msgspec import structs

from operators.decide.admission import RequestGroup
from operators.decide.request_groups import names_of
from operators.logic.deciding.contents import ActionContent, canonical, read_content, read_context
from operators.logic.features.auto_rows import AutoRows
from operators.logic.features.crossing import Operands
from schemas.catalog import Action, AutoFeatures, Slot
from schemas.codec import Flaw

MOST_VIEWS = 2
"""Views of which a slot's encoders are kept: that of one posterior, and of the next."""


class UndeclaredFeatures:
    """One slot's requests: contexts and candidates as they are logged, and as rows.

    An action that a request says nothing of is what the catalog says of it. Rows are made by the
    view of the posterior that decides, which after a change of the slot is for a while not its own.
    """

    def __init__(self, slot: Slot) -> None:
        assert slot.features.auto is not None
        self._own, self._slate_size = slot.features.auto, slot.slate_size
        self._rows: list[tuple[AutoFeatures, AutoRows]] = []
        self._problems: Counter[tuple[str, str]] = Counter()
        self._revision = -1
        self._catalog: dict[str, ActionContent] = {}

    def described(self, group: RequestGroup) -> RequestGroup:
        """Give a group with the contexts of its requests, and what is known of each candidate."""
        self._follow(group.revision, group.actions)
        of_requests = group.contents or [None] * len(group.events)
        pairs = zip(of_requests, group.eligible, strict=True)
        return structs.replace(
            group,
            contents=[self._contents(contents, names) for contents, names in pairs],
            contexts=[self._context(event.body.context) for event in group.events],
        )

    def rows_of(self, view: AutoFeatures | None) -> AutoRows:
        """Give what makes rows by a view, the slot's own by default; the last two are kept."""
        view = view or self._own
        for known, rows in self._rows:
            if known == view:
                return rows
        made = AutoRows(view, self._slate_size)
        self._rows = [(view, made), *self._rows[: MOST_VIEWS - 1]]
        return made

    def operands_of(self, group: RequestGroup, view: AutoFeatures | None) -> Iterator[Operands]:
        """Give what is crossed for each request's candidates, in the order of :func:`names_of`."""
        contexts = [
            event.body.context if text is not None else {}
            for event, text in zip(group.events, group.contexts, strict=True)
        ]
        contents = [
            [None if (content := found.get(name)) is None else content.text for name in names]
            if found
            else [None] * len(names)
            for names, found in zip(names_of(group), group.contents, strict=True)
        ]
        return self.rows_of(view).of_candidates(contexts, contents)

    def take_problems(self) -> Mapping[tuple[str, str], int]:
        """Give how often what was left out, by (what, reason), since this was last asked."""
        problems, self._problems = self._problems, Counter()
        for _, rows in self._rows:
            problems += rows.take_problems()
        return problems

    def _follow(self, revision: int, actions: Sequence[Action]) -> None:
        """Read what the catalog says of actions, once; too much of one is none."""
        if revision == self._revision:
            return
        self._revision, self._catalog = revision, {}
        for action in actions:
            content = read_content(canonical(action.features)) if action.features else None
            if isinstance(content, Flaw):
                self._problems["actions", "too_long"] += 1
            elif content is not None:
                self._catalog[action.action_id] = content

    def _contents(
        self, contents: Mapping[str, ActionContent] | None, names: Sequence[str] | None
    ) -> Mapping[str, ActionContent] | None:
        known = self._catalog
        if names is not None and known:
            known = {name: known[name] for name in names if name in known}
        if contents:
            return {**known, **contents} if known else contents
        return known or None

    def _context(self, context: Mapping[str, object]) -> bytes | None:
        """Write a context as it is logged; one that is too large is none."""
        text = read_context(context)
        if isinstance(text, Flaw):
            self._problems["context", text.reason] += 1
            return None
        return text
