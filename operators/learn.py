"""Learn: one learner per slot takes in every shard's lessons and publishes what it knows."""

import base64
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import bytewax.operators as op
from bytewax.dataflow import operator
from bytewax.operators import KeyedStream, StatefulBatchLogic
from msgspec import Struct

from operators.batches import NEVER, Lesson, Message, PolicyNews, SlotNews, moment
from operators.io import metrics
from operators.logic.features import FeatureMap, action_matrix
from operators.logic.models import CanonicalOrder, ClickModel
from operators.logic.policies import Policy, load_policy, make_policy
from operators.streams import only
from schemas.catalog import Action, Slot
from schemas.codec import encode
from schemas.results import ActionSummary, PolicySnapshot
from schemas.settings import Settings
from schemas.state import pack, unpack

_KIND, _VERSION = "learner", 1


@dataclass(frozen=True)
class Learned:
    """Posteriors for the scoring shards, and snapshots for the outside, keyed by slot."""

    news: KeyedStream[PolicyNews]
    snapshots: KeyedStream[PolicySnapshot]
