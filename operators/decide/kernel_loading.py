"""Kernels are loaded in the background, by what the catalog shows, before a request needs them."""

from collections.abc import Callable, Iterable
from threading import Thread

from operators.logic.kernels import load_common_kernels, load_shared_kernels
from schemas.catalog import CatalogEntry, Slot


class KernelLoading:
    """Loads the kernels that any slot needs at once, and a shared model's with its first slot.

    Until then the sources and sinks connect; the first requests would wait for it otherwise.
    """

    def __init__(self) -> None:
        self._has_shared = False
        _begin(load_common_kernels)

    def take_in(self, entries: Iterable[CatalogEntry]) -> None:
        """Load what these entries of the catalog need."""
        if not self._has_shared and any(map(_is_shared, entries)):
            self._has_shared = True
            _begin(load_shared_kernels)


def _begin(load: Callable[[], None]) -> None:
    Thread(target=load, name="kernels").start()


def _is_shared(entry: CatalogEntry) -> bool:
    return isinstance(entry, Slot) and entry.policy.kind == "shared"
