"""Inner loops that are compiled by numba: where NumPy would take many passes over small arrays.

A file here holds one kernel: what is compiled, and its constants. It imports nothing of ours but
:mod:`operators.logic.kernels.compiling`, because the cache of compiled code notices changes of a
kernel's own file only. Its callers import it inside a function, so that only processes that
compute load numba; :func:`load_kernels` does so ahead of the first call.
"""


def load_kernels() -> None:
    """Load every kernel, or compile those that no cache holds, so that no request waits for it.

    >>> load_kernels()
    """
    load_common_kernels()
    load_shared_kernels()


def load_common_kernels() -> None:
    """Load what any slot may need: the probabilities of independent beliefs."""
    import operators.logic.kernels.contenders
    import operators.logic.kernels.gaussian_maximum  # noqa: F401


def load_shared_kernels() -> None:
    """Load what slots with policy ``shared`` need: rows, their scores, joint probabilities."""
    import operators.logic.kernels.crossed_rows
    import operators.logic.kernels.crossed_scores
    import operators.logic.kernels.crossing_plan
    import operators.logic.kernels.joint_maximum
    import operators.logic.kernels.shared_rows  # noqa: F401
