"""Categories and hash buckets: which column a value lights."""

from collections import Counter
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

from operators.logic.features.layout import OTHER, Block

_MEMO = 65_536
"""So many values of a field are remembered with their buckets."""

_SHORT = 256
"""Characters of a value that is: a longer one costs its hash anew."""


class OneHot:
    """Finds the column of each value of one field; column 0 where the value is missing.

    Column 0 is the intercept, which is 1 already: lighting it changes nothing, so that one
    scatter serves rows with and without a value. Texts name categories as they are, numbers and
    booleans by their JSON text.
    """

    def __init__(self, block: Block, problems: Counter[tuple[str, str]]) -> None:
        self._block = block
        self._problems = problems
        self._known: dict[str, int] = {}

    def columns(self, values: Sequence[Any]) -> list[int]:
        """Give the column of every value."""
        known = self._known
        try:
            return [known[value] for value in values]
        except (KeyError, TypeError):
            return [self._column(value) for value in values]

    def _column(self, value: Any) -> int:
        text = value if type(value) is str else category_text(value)
        if text is None:
            reason = "missing" if value is None else "wrong_type"
            self._problems[(self._block.source, reason)] += 1
            return 0
        return self._known.get(text) or self._unknown(text)

    def _unknown(self, text: str) -> int:
        raise NotImplementedError


class Categories(OneHot):
    """One column per listed value, and one for all others."""

    def __init__(self, block: Block, problems: Counter[tuple[str, str]]) -> None:
        super().__init__(block, problems)
        listed = [name.removeprefix(f"{block.source}=") for name in block.names]
        self._known = {v: block.start + i for i, v in enumerate(listed) if v != OTHER}

    def _unknown(self, text: str) -> int:
        if text != OTHER:
            self._problems[(self._block.source, "other")] += 1
        return self._block.start + self._block.width - 1


class Buckets(OneHot):
    """One column per hash bucket; the hash is keyed by the field's name."""

    def _unknown(self, text: str) -> int:
        column = self._block.start + stable_hash(self._block.source, text) % self._block.width
        if len(text) <= _SHORT:
            if len(self._known) >= _MEMO:
                self._known.clear()
            self._known[text] = column
        return column


def stable_hash(field: str, text: str) -> int:
    """Hash a field's value to 64 bits, the same in every process and release.

    >>> stable_hash("geo", "US") % 1000
    711
    """
    key = blake2b(field.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    data = text.encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(data, digest_size=8, key=key).digest(), "little")


def category_text(value: Any) -> str | None:
    """Give the category that a JSON scalar names, ``None`` if it names none.

    >>> [category_text(value) for value in ("a", True, 3, 3.0, 0.5, None, [])]
    ['a', 'true', '3', '3', '0.5', None, None]
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if abs(value) < 2**63 else None
    if isinstance(value, float) and abs(value) < 2**63:
        return str(int(value)) if value.is_integer() else repr(value)
    return None
