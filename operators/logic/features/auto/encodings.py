"""Encodings of actions by what their features say, so that what repeats is encoded once."""

from collections import OrderedDict
from typing import Any

import msgspec

from operators.logic.features.auto.encoder import AutoEncoder
from operators.logic.features.auto.sparse import SparseFeatures

_OVERHEAD = 1200
"""Bytes of an entry beside its key and numbers: the objects, and its place in the dictionary."""


class ActionEncodings:
    """Remembers the encodings of features by their JSON, those used last, in ``most_bytes``.

    What is encoded is the same whether it is remembered or not; what was left out of it is counted
    when it is encoded, not each time that it is remembered.

    >>> from schemas.catalog import AutoFeatures
    >>> encodings = ActionEncodings(AutoEncoder(AutoFeatures()), most_bytes=1_000_000)
    >>> encodings.encode({"topic": "sport"}) is encodings.encode({"topic": "sport"})
    True
    """

    def __init__(self, encoder: AutoEncoder, most_bytes: int) -> None:
        self.nbytes = 0
        self._encoder = encoder
        self._most = most_bytes
        self._known: OrderedDict[bytes, SparseFeatures] = OrderedDict()
        self._json = msgspec.json.Encoder()

    def __len__(self) -> int:
        """Count the encodings that are remembered."""
        return len(self._known)

    def encode(self, features: Any) -> SparseFeatures:
        """Encode decoded JSON as :meth:`AutoEncoder.encode` does."""
        try:
            key = self._json.encode(features)
        except (TypeError, ValueError, OverflowError, RecursionError):  # no JSON: not remembered
            return self._encoder.encode(features)
        known = self._known_as(key)
        return self._remembered(key, features) if known is None else known

    def of_json(self, text: bytes) -> SparseFeatures:
        """Encode what a JSON text says, which is read only where it is not remembered.

        >>> from schemas.catalog import AutoFeatures
        >>> encodings = ActionEncodings(AutoEncoder(AutoFeatures()), most_bytes=1_000_000)
        >>> encodings.of_json(b'{"a":1}').is_same(encodings.encode({"a": 1}))
        True
        """
        known = self._known_as(text)
        return self._remembered(text, msgspec.json.decode(text)) if known is None else known

    def _known_as(self, key: bytes) -> SparseFeatures | None:
        encoded = self._known.get(key)
        if encoded is not None:
            self._known.move_to_end(key)
        return encoded

    def _remembered(self, key: bytes, features: Any) -> SparseFeatures:
        encoded = self._encoder.encode(features)
        self._known[key] = encoded
        self.nbytes += _bytes_of(key, encoded)
        while self.nbytes > self._most and self._known:
            self.nbytes -= _bytes_of(*self._known.popitem(last=False))
        return encoded


def _bytes_of(key: bytes, encoded: SparseFeatures) -> int:
    return _OVERHEAD + len(key) + encoded.nbytes
