"""The bounds of what a record may bring; ``docs/reference/topics.md`` states each with its field.

A record that breaks one is a dead letter ``invalid_value`` that names the field. Times have a
range of their own, in :mod:`schemas.clock`.
"""

LEAST_INTEGER = -(2**63)
GREATEST_INTEGER = 2**63 - 1
"""Integers have 64 bits, in free JSON, too."""

ID_LENGTH = 256
"""Characters of an identifier."""

TEXT_LENGTH = 256
"""Characters of a short text that names no record: ``source``, ``type``, ``basis``, ``version``."""

URL_LENGTH = 8192
"""Characters of ``target_url``."""

MOST_CANDIDATES = 1000
"""Actions that a request may name, and that a decision may rank."""

MOST_POSITIONS = 50
"""Actions that a slate may show."""

GREATEST_POSITION = 65_535
"""A ``position`` that is reported; what lies beyond the slate's length is the application's own."""

GREATEST_REWARD = 1e9
"""Size of the ``value`` of a reward."""

MOST_PURPOSES = 1000
"""Purposes that a consent may list."""

GREATEST_PURPOSE = 65_535
"""Number of a purpose; those that no rule knows are passed over."""

CONTEXT_DEPTH = 6
"""Levels of lists and objects in a ``context``; what lies deeper is as if missing."""
