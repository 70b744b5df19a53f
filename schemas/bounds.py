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
"""Actions that a request may name."""

ACTION_FEATURES_BYTES = 32_768
"""Bytes of the features that a request gives to an action, as JSON."""

MOST_POSITIONS = 50
"""Actions that a slate may show."""

GREATEST_POSITION = 65_535
"""A ``position`` that is reported; what lies beyond the slate's length is the application's own."""

GREATEST_POLICY_VERSION = 2**32 - 1
"""It is kept in 32 bits for each pending decision."""

GREATEST_ETA = 1e12
"""Size of a linear predictor."""

FEATURES_LENGTH = 349_516
"""Characters of a decision's ``features``: base64 of fewer than 65,535 numbers."""

GREATEST_REWARD = 1e9
"""Size of the ``value`` of a reward, of a slot's default and click rewards and of its range."""

MOST_PURPOSES = 1000
"""Purposes that a consent may list."""

GREATEST_PURPOSE = 65_535
"""Number of a purpose; those that no rule knows are passed over."""

CONTEXT_DEPTH = 6
"""Levels of lists and objects in a ``context``; what lies deeper is as if missing."""

JSON_DEPTH = 16
"""Levels of lists and objects in the catalog's ``content``, ``features`` and ``params``."""

JSON_BYTES = 131_072
"""Bytes of a catalog record's ``content``, and of an action's ``features``, as JSON."""

LONGEST_VECTOR = 4096
"""Numbers of an ``embedding``, and of a list of numbers that is a feature."""

MOST_NAMES = 1000
"""Entries of a list of names in the catalog: an action's ``slots``, a variation's ``actions``."""

MOST_VARIATIONS = 20
"""Variations of an experiment."""

GREATEST_WEIGHT = 1_000_000_000
"""``weight`` of a variation."""

LEAST_WEIGHT_SHARE = 1e-6
"""The least share of the traffic that a variation may have, if it has any."""

LAYER_BUCKETS = 10_000
"""Buckets of a layer."""

MOST_CONDITIONS = 32
"""Conditions in each list of an experiment's ``targeting``."""

MOST_CONDITION_VALUES = 100
"""Values that a condition compares a field with."""

MOST_RAMP_STEPS = 100
"""Steps of an experiment's ``ramp``."""

MOST_METRICS = 20
"""Metrics of an experiment."""

MOST_EXPERIMENTS = 20
"""Experiments that a decision names."""

LONGEST_GATE = 3650.0
"""Days that a winner may have to wait for."""

MOST_GATED = 1_000_000_000
"""``subjects`` and ``rewards`` that a winner may have to wait for."""

GREATEST_EXPERIMENT_VERSION = 2**53
"""``version`` of an experiment's record."""

MOST_ACTION_FEATURES = 256
"""Features of an action."""

MOST_ITEM_FEATURES = 64
"""Names in a slot's ``item_features``."""

MOST_ITEM_COLUMNS = 4096
"""Columns that ``item_features`` give: those beyond it are left out."""

MOST_INTERACTIONS = 256
"""Interactions of a feature spec."""

MOST_COLUMNS = 8192
"""Columns of a feature spec, with those of a slate's positions: 32 KiB in every decision."""

MOST_MATRIX_COLUMNS = 512
"""Columns of a policy that keeps a matrix of them for each action."""

MOST_LIT_PAIRS = 4096
"""Products of one request that hashed interactions add up."""

MOST_SCALED_PAIRS = 8192
"""Pairs of columns whose product is scaled."""

LEAST_BUCKET_BITS, MOST_BUCKET_BITS = 8, 20
"""``features.auto.bits``: the logarithm of the buckets that features without a declaration fill."""

MOST_UNDECLARED_FEATURES = 4096
"""``features.auto.most_features``: of a context, and of an action."""

MOST_CROSSED_FEATURES = 65_536
"""``features.auto.most_crossed``: products of a context's and an action's features."""

MOST_CROSSES = 64
"""Pairs of namespaces in ``features.auto.crosses``."""

MOST_IGNORED = 256
"""Namespaces in ``features.auto.ignore``."""

CATEGORY_LENGTH = 256
"""Characters of a name and of a text that become a feature without a declaration."""

GREATEST_FOUND_NUMBER = 1e9
"""Size of a number that becomes a feature without a declaration."""

POLICY_BYTES = 512 * 2**20
"""Memory that one slot's learner may need; it says how many actions a slot may have."""

MOST_ACTIONS = 10_000
"""Actions of a slot."""

MOST_RELATED_ACTIONS = 2000
"""Actions of a slot whose policy compares them with each other: item features, neighbours."""

MOST_SHARES = 10_000
"""Actions that the policy ``split`` names."""

CATALOG_BYTES = 64 * 2**20
"""Bytes of the catalog's records, the newest of each slot, action and experiment counted."""

LEAST_REWARD_SPAN = 1e-6
"""Width of a ``reward_range``: rewards are counted in units of 2**-32."""

LEAST_REWARD_WINDOW = 1e-3
LONGEST_REWARD_WINDOW = 400 * 86_400.0
"""Seconds of a ``reward_window``, and so from a decision to its ``expires_at``."""

LONGEST_PUBLISH_INTERVAL = 86_400.0
"""Seconds of a ``publish_interval``."""

MOST_PUBLISH_REWARDS = 1_000_000_000
"""``publish_rewards``."""

MOST_LIMITED_DECISIONS = 1_000_000_000
"""``decisions`` of a slot's ``subject_limit`` and ``robot_rate``."""

LEAST_LIMIT_WINDOW = 1.0
LONGEST_LIMIT_WINDOW = 86_400.0
"""Seconds of their ``window``: what is counted of it is kept for as long."""

DETAIL_LENGTH = 1000
"""Characters of a dead letter's ``detail``; its ``field`` has those of a short text."""

MOST_COPIED_BYTES = 8_000_000
"""Bytes of a policy's copy in Redis: so much more of it than of a record on ``policies``."""

CATEGORY_BYTES = 100_000
"""Bytes that the names of all categories of actions may take in a profile."""

ESCAPED_CHARACTER = 6
"""Bytes that a character may take in JSON: control characters are written as ``\\u0001``."""

LEAST_RECORD_BYTES = 400_000
"""The least limit on a record that is written: what may not be left out of the largest decision,
and the largest profile, fit into it."""
