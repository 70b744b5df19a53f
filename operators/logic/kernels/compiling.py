"""How kernels are compiled: ahead of any call, for one thread, with IEEE arithmetic, and cached."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

Function = TypeVar("Function", bound=Callable[..., object])

_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": False}
"""The interpreter's lock is released, division by zero is IEEE's, and sums keep their order: so a
result is the same bits in whatever company it is computed."""


def kernel(signature: str) -> Callable[[Function], Function]:
    """Compile a kernel for one signature when its file is imported.

    The code is kept where ``NUMBA_CACHE_DIR`` says, else beside the source, else in the user's
    cache folder. Where none of them can be written it is compiled in every process.

    Parameters
    ----------
    signature
        Result and arguments as numba writes them: ``boolean(float64[:, ::1])``.
    """

    def decorate(function: Function) -> Function:
        try:
            return cast(Function, njit(signature, cache=True, **_OPTIONS)(function))
        except RuntimeError as error:
            if "cannot cache" not in str(error):
                raise
            return cast(Function, njit(signature, **_OPTIONS)(function))

    return decorate


def inlined(function: Function) -> Function:
    """Compile a part of a kernel together with the kernel that calls it, in the same file."""
    return cast(Function, njit(**_OPTIONS)(function))
