"""What requests say of the actions that they bring: checked and hashed once for each content."""

from collections.abc import Collection, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final

from msgspec import Struct
from msgspec.json import Encoder

from schemas.bounds import ACTION_FEATURES_BYTES, CONTEXT_DEPTH
from schemas.codec import Flaw
from schemas.events import RankableAction
from schemas.leniency import read_tolerantly

CONFLICTING: Final = "conflicting_action"
"""The reason of a request that says two things of one action."""

CONTENT_FLAWS: Final = frozenset(
    {"wrong_type", "invalid_value", "invalid_utf8", "not_json", "too_deep"}
)
"""The reasons of a request whose features are none, though the record can be read."""

MOST_REMEMBERED: Final = 4 * 2**20
"""Bytes of features, as they came, that are remembered; those that come again are read once."""

_BESIDE: Final = 250
"""Bytes that a content takes in memory beside its text, twice."""

_write = Encoder(order="deterministic").encode


class ActionContent(Struct, frozen=True, gc=False):
    """The features of an action: ``text`` is their canonical JSON, ``hash`` that of the text.

    Canonical: names sorted, no spaces. The hash is :func:`content_hash` of it.
    """

    hash: str
    text: bytes


def content_hash(text: bytes) -> str:
    """Give the 64-bit BLAKE2b of canonical JSON, as 16 hexadecimal digits.

    >>> content_hash(b'{"price":1}') == content_hash(canonical({"price": 1}))
    True
    """
    return blake2b(text, digest_size=8).hexdigest()


def canonical(features: Any) -> bytes:
    """Write JSON so that the same features give the same bytes.

    >>> canonical({"b": [1, {"y": 0.5, "x": None}], "a": "é"}).decode()
    '{"a":"é","b":[1,{"x":null,"y":0.5}]}'
    """
    return _write(features)


def read_content(raw: bytes) -> ActionContent | Flaw | None:
    """Read features as they came: None where there are none, a flaw where they are none.

    They are an object or a list of objects. What lies deeper than CONTEXT_DEPTH levels, and numbers
    that overflow, are as if missing; more than ACTION_FEATURES_BYTES of canonical JSON are refused.

    >>> read_content(b'{"b": 1, "a": 1e999}').text, read_content(b"{}")
    (b'{"a":null,"b":1}', None)
    >>> read_content(b"[1]")
    Flaw(reason='wrong_type', field=None, detail='Expected an object or a list of objects')
    """
    try:
        features = read_tolerantly(raw, CONTEXT_DEPTH)
        text = canonical(features)
    except UnicodeError:
        return Flaw("invalid_utf8")
    except ValueError as error:
        return Flaw("invalid_utf8" if "utf-8" in str(error).lower() else "not_json")
    except RecursionError:
        return Flaw("too_deep", detail="nested deeper than the parser goes")
    objects = features if isinstance(features, list) else [features]
    if not all(isinstance(each, dict) for each in objects):
        if features is None:
            return None
        return Flaw("wrong_type", detail="Expected an object or a list of objects")
    if not any(objects):
        return None
    if len(text) > ACTION_FEATURES_BYTES:
        detail = f"{len(text):,} bytes, the limit is {ACTION_FEATURES_BYTES:,}"
        return Flaw("invalid_value", detail=detail)
    return ActionContent(content_hash(text), text)


def read_context(context: Mapping[str, Any]) -> bytes | Flaw | None:
    """Write a context as it is logged and learned: None where it is empty, a flaw if too large.

    >>> read_context({"b": 1, "a": "x"}), read_context({})
    (b'{"a":"x","b":1}', None)
    """
    if not context:
        return None
    text = canonical(context)
    if len(text) > ACTION_FEATURES_BYTES:
        return Flaw("too_long", "context")
    return text


class ActionContents:
    """Reads features as :func:`read_content` does, those that come again from memory.

    What is remembered are the last ``most`` bytes of features as they came, up to twice as many.
    """

    def __init__(self, most: int = MOST_REMEMBERED) -> None:
        self._most = most
        self._size = 0
        self._newer: dict[bytes, ActionContent | Flaw | None] = {}
        self._older: dict[bytes, ActionContent | Flaw | None] = {}

    def read(self, raw: bytes) -> ActionContent | Flaw | None:
        """Read features."""
        if raw in self._newer:
            return self._newer[raw]
        content = self._older[raw] if raw in self._older else read_content(raw)
        self._size += 2 * len(raw) + _BESIDE
        if self._size > self._most:
            self._older, self._newer, self._size = self._newer, {}, 2 * len(raw) + _BESIDE
        self._newer[raw] = content
        return content

    def of_request(
        self, actions: Sequence[str | RankableAction], shown: Collection[str]
    ) -> dict[str, ActionContent] | Flaw:
        """Give the features of the actions that may be shown, by id; a flaw names the field.

        An id that comes twice has the features that one of them gives; where two give different
        ones, nobody could say which the visitor saw, and the request is refused. What may not be
        shown has no flaw.

        >>> from msgspec import Raw
        >>> price = RankableAction(id="a", features=Raw(b'{"price": 1}'))
        >>> ActionContents().of_request([price, "a", "b"], ["a", "b"])["a"].text
        b'{"price":1}'
        """
        wanted = frozenset(shown)
        contents: dict[str, ActionContent] = {}
        for place, (action, content) in enumerate(zip(actions, self._each(actions), strict=True)):
            if content is None or isinstance(action, str) or action.id not in wanted:
                continue
            if type(content) is Flaw:
                return Flaw(content.reason, f"actions[{place}].features", content.detail)
            assert isinstance(content, ActionContent)
            if contents.setdefault(action.id, content).hash != content.hash:
                return Flaw(CONFLICTING, f"actions[{place}].features", "other features before")
        return contents

    def digests(self, actions: Sequence[str | RankableAction] | None) -> Sequence[Any] | None:
        """Give actions as what two requests that ask the same have in common.

        Ids are themselves; features their hash, or their text where they are none.
        """
        if not brings_features(actions):
            return actions
        assert actions is not None
        return list(map(_digest, actions, self._each(actions)))

    def _each(self, actions: Sequence[str | RankableAction]) -> list[ActionContent | Flaw | None]:
        """Read the features of each action of a list: most are found with one look-up."""
        newer = self._newer
        found: list[ActionContent | Flaw | None] = []
        for action in actions:
            if isinstance(action, str):
                found.append(None)
                continue
            raw = bytes(action.features)
            content = newer.get(raw)
            if content is None:  # unread, or known to be nothing
                content = self.read(raw)
                newer = self._newer
            found.append(content)
        return found


def _digest(action: str | RankableAction, content: ActionContent | Flaw | None) -> Any:
    if isinstance(action, str):
        return action
    if content is None:
        return action.id
    if isinstance(content, ActionContent):
        return action.id, content.hash
    return action.id, bytes(action.features)


def brings_features(actions: Sequence[str | RankableAction] | None) -> bool:
    """Tell whether any action of a request is more than an id."""
    return actions is not None and RankableAction in map(type, actions)
