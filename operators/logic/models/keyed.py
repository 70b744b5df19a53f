"""Initial latent vectors that depend on a key alone, not on when it was first seen."""

from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

Floats = NDArray[np.float64]


class KeyedLatents(dict[Any, Floats]):
    """Latent vectors by key; a missing one starts as normal numbers hashed from its key.

    River draws initial vectors from a generator in order of first sight; these need no
    generator state, and a forgotten key starts again from the same place.

    >>> a, b = KeyedLatents("users", 2, 0.1), KeyedLatents("users", 2, 0.1)
    >>> _ = b["bob"]
    >>> bool((a["ann"] == b["ann"]).all())
    True
    """

    def __init__(self, name: str, width: int, deviation: float) -> None:
        self._name = name
        self._width = width
        self._deviation = deviation

    def __missing__(self, key: Any) -> Floats:
        """Start the key's vector."""
        self[key] = initial = self.initial(key)
        return initial

    def initial(self, key: Any) -> Floats:
        """Give the vector that the key starts from."""
        text = f"{self._name}\n{key}".encode("utf-8", "surrogatepass")
        blocks = [
            blake2b(text, digest_size=64, salt=place.to_bytes(4, "little")).digest()
            for place in range((self._width + 7) // 8)
        ]
        bits = np.frombuffer(b"".join(blocks), "<u8")[: self._width] >> np.uint64(11)
        normal: Floats = ndtri((bits.astype(np.float64) + 0.5) * 2.0**-53)
        return self._deviation * normal
