"""Any JSON as sparse features: what counts as what, and what is left out.

The rules are written down in ``docs/reference/features.md``. Nothing raises; the result does not
depend on the order of keys.
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from operators.logic.features.auto.names import NameHashes, escape, namespace_hash
from operators.logic.features.auto.sparse import SparseFeatures
from schemas.bounds import CATEGORY_LENGTH, CONTEXT_DEPTH, GREATEST_FOUND_NUMBER, LONGEST_VECTOR
from schemas.catalog import AutoFeatures

_Found = dict[int, float | list[float]]
"""What was found in a namespace: values by the hashes of names, several where a name repeats."""

_NUMBERS = frozenset({int, float})
_TEXTS = frozenset({str, bool})


class AutoEncoder:
    """Makes sparse features of JSON by one slot's settings.

    ``problems`` counts what was left out, by reason: ``too_deep``, ``too_long`` (a key or text, or
    the elements of a list behind the first 4,096), ``too_many`` (features), ``not_finite``,
    ``too_large`` (a number), ``not_an_object`` (features that are neither an object nor in one),
    ``wrong_type`` (no JSON).

    >>> encoder = AutoEncoder(AutoFeatures())
    >>> found = encoder.encode({"device": "phone", "user": {"age": 37, "taste": [0.5, 0.0]}})
    >>> len(found), len(found.namespaces), np.sort(found.values).tolist()
    (3, 2, [0.5, 1.0, 4.610918045043945])
    """

    def __init__(self, settings: AutoFeatures, hashes: NameHashes | None = None) -> None:
        self.problems: Counter[str] = Counter()
        self._hashes = hashes or NameHashes()
        self._ignored = frozenset(settings.ignore)
        self._most = settings.most_features
        self._is_scaled = settings.scale

    def encode(self, features: Any) -> SparseFeatures:
        """Encode decoded JSON: an object, or a list of objects that count as one; null is none."""
        found: dict[str, _Found] = {}
        if type(features) is dict:
            self._top(found, features, 1)
        elif type(features) is list:
            for each in features:
                if type(each) is dict:
                    self._top(found, each, 2)
                elif each is not None:
                    self.problems["not_an_object"] += 1
        elif features is not None:
            self.problems["not_an_object"] += 1
        return self._gathered(found)

    def _top(self, found: dict[str, _Found], features: dict[Any, Any], level: int) -> None:
        """Take in an object: objects within it are namespaces, all else lies in that of ``""``."""
        for key, value in features.items():
            if not self._is_key(key):
                continue
            kind, own = type(value), f"{escape(key)}|"
            if kind is dict:
                if key not in self._ignored:
                    self._object(found.setdefault(key, {}), own, value, level + 1)
            elif kind is list:
                # Objects in it are the namespace's, the rest is the field's.
                into, of_objects = self._space(found, ""), self._space(found, key)
                self._list(into, f"|{escape(key)}", value, level + 1, of_objects, own)
            elif "" not in self._ignored:
                self._value(found.setdefault("", {}), f"|{escape(key)}", value, level)

    def _space(self, found: dict[str, _Found], namespace: str) -> _Found:
        """Give what was found in a namespace; of an ignored one nothing is kept."""
        return {} if namespace in self._ignored else found.setdefault(namespace, {})

    def _object(self, into: _Found, prefix: str, value: dict[Any, Any], level: int) -> None:
        if level > CONTEXT_DEPTH:
            self.problems["too_deep"] += 1
            return
        hash_of = self._hashes.of
        for key, inner in value.items():
            if not self._is_key(key):
                continue
            path = f"{prefix}{key if key.isidentifier() else escape(key)}"
            if type(inner) is str and len(inner) <= CATEGORY_LENGTH:  # most are
                name = hash_of(f"{path}={inner}")
                into[name] = _joined(into[name], 1.0) if name in into else 1.0
            else:
                self._value(into, path, inner, level)

    def _value(self, into: _Found, path: str, value: Any, level: int) -> None:
        """Take in the value of a path; ``level`` is that of the object or list around it."""
        kind = type(value)
        if kind in _NUMBERS:
            if self._is_bounded(value):
                number = _logarithmic(value) if self._is_scaled else value
                _add(into, self._hashes.of(path), number)
        elif kind is str:
            self._category(into, path, value)
        elif kind is bool:
            self._category(into, path, _category_text(value))
        elif kind is dict:
            self._object(into, f"{path}.", value, level + 1)
        elif kind is list:
            self._list(into, path, value, level + 1, into, f"{path}.")
        elif value is not None:
            self.problems["wrong_type"] += 1

    def _list(
        self,
        into: _Found,
        path: str,
        values: list[Any],
        level: int,
        into_objects: _Found,
        prefix: str,
    ) -> None:
        """Take in a list: a vector, a set of categories, objects that are merged, or all of it."""
        if level > CONTEXT_DEPTH:
            self.problems["too_deep"] += 1
            return
        if len(values) > LONGEST_VECTOR:
            self.problems["too_long"] += len(values) - LONGEST_VECTOR
            values = values[:LONGEST_VECTOR]
        kinds = set(map(type, values))
        if kinds <= _NUMBERS:
            self._vector(into, path, values)
            return
        categories = {value for value in values if type(value) is str}
        categories |= {_category_text(value) for value in values if type(value) is bool}
        for text in categories:
            self._category(into, path, text)
        if kinds <= _TEXTS:
            return
        for place, value in enumerate(values):
            kind = type(value)
            if kind is dict:
                self._object(into_objects, prefix, value, level + 1)
            elif kind is list:
                inner = f"{path}[{place}]"
                self._list(into, inner, value, level + 1, into, f"{inner}.")
            elif kind in _NUMBERS:
                if self._is_bounded(value):
                    _add(into, self._hashes.of_element(path, place), value)
            elif kind not in _TEXTS and value is not None:
                self.problems["wrong_type"] += 1

    def _vector(self, into: _Found, path: str, values: Sequence[float]) -> None:
        names = self._hashes.of_elements(path, len(values))
        bounded = {
            name: value
            for name, value in zip(names, values, strict=True)
            if self._is_bounded(value)
        }
        if into.keys().isdisjoint(bounded):
            into.update(bounded)
        else:
            for name, value in bounded.items():
                _add(into, name, value)

    def _category(self, into: _Found, path: str, text: str) -> None:
        if len(text) > CATEGORY_LENGTH:
            self.problems["too_long"] += 1
        else:
            _add(into, self._hashes.of(f"{path}={text}"), 1.0)

    def _is_key(self, key: Any) -> bool:
        if type(key) is str and len(key) <= CATEGORY_LENGTH:
            return True
        self.problems["too_long" if isinstance(key, str) else "wrong_type"] += 1
        return False

    def _is_bounded(self, number: float) -> bool:
        if -GREATEST_FOUND_NUMBER <= number <= GREATEST_FOUND_NUMBER:
            return True
        is_finite = type(number) is int or math.isfinite(number)
        self.problems["too_large" if is_finite else "not_finite"] += 1
        return False

    def _gathered(self, found: dict[str, _Found]) -> SparseFeatures:
        """Add up what repeats, sort by hash, and leave out what is too much."""
        by_hash = sorted((namespace_hash(name), name) for name, into in found.items() if into)
        numbers: dict[int, float] = {}
        where: dict[int, int] = {}
        for space, (_, name) in enumerate(by_hash):
            for feature, value in found[name].items():
                number = _sum(value) if isinstance(value, list) else value
                if number:
                    numbers[feature], where[feature] = number, space
        order = sorted(numbers)
        if len(order) > self._most:
            self.problems["too_many"] += len(order) - self._most
            del order[self._most :]
        return _packed([hash_ for hash_, _ in by_hash], order, where, numbers)


def _packed(
    spaces: list[int], order: list[int], where: dict[int, int], numbers: dict[int, float]
) -> SparseFeatures:
    """Make the arrays; a number that is 0 as float32, and a namespace without any, is left out."""
    values = np.array([numbers[feature] for feature in order], np.float32)
    if not values.all():
        order = [feature for feature in order if np.float32(numbers[feature])]
        values = values[values != 0.0]
    places = [where[feature] for feature in order]
    used = sorted(set(places))
    if len(used) < len(spaces):
        renamed = {space: place for place, space in enumerate(used)}
        places = [renamed[space] for space in places]
    return SparseFeatures(
        namespaces=np.array([spaces[space] for space in used], np.uint64),
        spaces=np.array(places, np.uint16),
        names=np.array(order, np.uint64),
        values=values,
    )


def _add(into: _Found, name: int, number: float) -> None:
    into[name] = _joined(into[name], number) if name in into else number


def _joined(earlier: float | list[float], number: float) -> list[float]:
    """Keep all numbers of one name until they are added up, which needs no order then."""
    if isinstance(earlier, list):
        earlier.append(number)
        return earlier
    return [earlier, number]


def _sum(numbers: list[float]) -> float:
    """Add up exactly, so that no order matters, within the bound of a single number."""
    total = math.fsum(numbers)
    return max(-GREATEST_FOUND_NUMBER, min(total, GREATEST_FOUND_NUMBER))


def _logarithmic(number: float) -> float:
    """Give the number itself within ±1, and ±(1 + ln |number|) beyond: it has no step, no kink.

    >>> _logarithmic(-0.5), round(_logarithmic(1000), 3)
    (-0.5, 7.908)
    """
    size = abs(number)
    return number if size <= 1.0 else math.copysign(1.0 + math.log(size), number)


def _category_text(value: bool) -> str:
    return "true" if value else "false"
