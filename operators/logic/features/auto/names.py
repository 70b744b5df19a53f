r"""What features without a declaration are called, and the hashes of these names.

A name is ``namespace|path`` for a number, ``namespace|path[3]`` for an element of a list of
numbers and ``namespace|path=text`` for a category. Steps of a path are joined by ``.``; a key that
has one of ``\ | . [ =`` in it has a ``\`` before each, so no two fields share a name.
"""

from functools import lru_cache
from hashlib import blake2b

_SEED = b"banditflow auto1"
"""The seed of all hashes. Another one means other vectors: it is never to change."""

_ESCAPES = str.maketrans({character: f"\\{character}" for character in "\\|.[="})

_MEMO, _SHORT = 32_768, 128
"""So many names are remembered with their hashes, if they have no more than so many characters."""

_VECTOR_MEMO = 64
"""So many lists of numbers are remembered with the hashes of their elements."""

ELEMENT = 1 << 63
"""Set in the hash of an element of a list of numbers, and in no other: in the order of hashes the
elements come last, so that of too many features they are the first to be left out."""


def escape(key: str) -> str:
    r"""Write a key as a step of a path.

    >>> escape("v1.2")
    'v1\\.2'
    """
    return key if key.isalnum() else key.translate(_ESCAPES)


def stable_hash(name: str) -> int:
    """Hash a name to 64 bits, the same in every process and release.

    >>> hex(stable_hash("user|geo=US"))
    '0x8c0e173a9df51c7e'
    """
    data = name.encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(data, digest_size=8, person=_SEED).digest(), "little")


def namespace_hash(namespace: str) -> int:
    """Hash the name of a namespace; the one of top-level values is called ``""``."""
    return stable_hash(f"{escape(namespace)}|")


class NameHashes:
    """Hashes of names, remembered: what was used last, in bounded memory (about 20 MB at most)."""

    def __init__(self) -> None:
        self._short = lru_cache(_MEMO)(_feature_hash)
        self._elements = lru_cache(_VECTOR_MEMO)(_element_hashes)

    def of(self, name: str) -> int:
        """Give the hash of a number's or a category's name."""
        return self._short(name) if len(name) <= _SHORT else _feature_hash(name)

    def of_element(self, path: str, place: int) -> int:
        """Give the hash of one element of a list that holds other things than numbers, too."""
        return self._short(f"{path}[{place}]") | ELEMENT

    def of_elements(self, path: str, count: int) -> tuple[int, ...]:
        """Give the hashes of the elements of a list of numbers."""
        return self._elements(path, count)


def _feature_hash(name: str) -> int:
    return stable_hash(name) & ~ELEMENT


def _element_hashes(path: str, count: int) -> tuple[int, ...]:
    return tuple(_feature_hash(f"{path}[{place}]") | ELEMENT for place in range(count))
