"""What is printed of a publication shows what it changes."""

import re

from hypothesis import given
from hypothesis import strategies as st

from flows.reports.publication import describe
from operators.logic.entry_publication import Change
from operators.logic.publication import Publication
from tests.support import records as make

TEXTS = st.text("ab", max_size=60)


@given(TEXTS, TEXTS, TEXTS, TEXTS)
def test_two_values_that_differ_are_told_apart(
    start: str, before: str, after: str, end: str
) -> None:
    was, is_ = f"{start}{before}{end}", f"{start}{after}{end}"
    if was == is_:
        return
    actions = [make.action("a", content=content) for content in (was, is_)]
    change = Change(kind="changed", identity=("action", "a"), before=actions[0], after=actions[1])
    line = next(describe(Publication(changes=[change], records=[], outdated=[])))
    shown = re.fullmatch(r"changed   action a: content (\S+) → (\S+)", line)
    assert shown is not None
    assert shown[1] != shown[2]
    assert max(map(len, shown.groups())) <= 40
    for part, whole in zip(shown.groups(), (was, is_), strict=True):
        assert part.strip("…") in f'"{whole}"'
