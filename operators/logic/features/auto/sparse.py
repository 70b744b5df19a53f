"""The encoded form of a context's or an action's features."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class SparseFeatures:
    """Features by the hashes of their names, each once, in the order of these.

    Parameters
    ----------
    namespaces : uint64[g]
        Hashes of the namespaces that occur, rising.
    spaces : uint16[m]
        Which of them each feature lies in.
    names : uint64[m]
        Hashes of the features' names, rising.
    values : float32[m]
        Finite and not 0.
    """

    namespaces: NDArray[np.uint64]
    spaces: NDArray[np.uint16]
    names: NDArray[np.uint64]
    values: NDArray[np.float32]

    def __len__(self) -> int:
        """Count the features."""
        return len(self.names)

    @property
    def nbytes(self) -> int:
        """Count the bytes of its numbers."""
        return sum(
            array.nbytes for array in (self.namespaces, self.spaces, self.names, self.values)
        )

    def is_same(self, other: "SparseFeatures") -> bool:
        """Tell whether all numbers are the same bits."""
        return all(
            np.array_equal(getattr(self, name), getattr(other, name)) for name in self.__slots__
        )
