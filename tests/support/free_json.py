"""Any JSON for Hypothesis: names that need escapes, numbers that no float holds, deep nesting."""

from typing import Any

from hypothesis import strategies as st

KEYS = st.one_of(
    st.sampled_from(["", "a", "b", "a.b", "a|", "=", "[0]", "\\", "\ud800", "x" * 257]),
    st.text(max_size=5),
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([10**400, -(10**19), 2**63, 1e9, 1e300, 5e-324, -0.0]),
    st.floats(),
    KEYS,
)
ANY_JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=30,
)
OBJECTS = st.dictionaries(KEYS, ANY_JSON, max_size=6)


def turned(value: Any) -> Any:
    """Give the same JSON with the keys of every object in the opposite order."""
    if isinstance(value, dict):
        return {key: turned(value[key]) for key in reversed(value)}
    return [turned(each) for each in value] if isinstance(value, list) else value
