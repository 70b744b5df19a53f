"""Which columns a feature spec gives, and what each is called."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from schemas.catalog import FeatureSpec, Interaction

OTHER = "other"
"""The category of every value that is not listed."""


class FeatureError(ValueError):
    """A feature spec contradicts itself, or a logged vector does not fit; it names the field."""


class FeatureColumn(NamedTuple):
    """One column of the vector: what ``banditflow inspect features`` prints."""

    place: int
    name: str
    kind: str
    source: str


@dataclass(frozen=True, slots=True)
class Block:
    """The columns of one declared feature: ``start`` to ``stop``, each with a name."""

    source: str
    kind: str
    start: int
    names: tuple[str, ...]

    @property
    def width(self) -> int:
        """Count the columns."""
        return len(self.names)

    @property
    def columns(self) -> slice:
        """Give the block's place in a row."""
        return slice(self.start, self.start + len(self.names))


@dataclass(frozen=True, slots=True)
class Product:
    """The columns of an interaction; ``hashed`` where the pairs outnumber its buckets."""

    block: Block
    left: Block
    right: Block
    hashed: bool


@dataclass(frozen=True, slots=True)
class Layout:
    """Every block of a spec by the name of its source, then the products of two blocks."""

    blocks: dict[str, Block]
    products: tuple[Product, ...]

    def describe(self) -> list[FeatureColumn]:
        """List all columns, the intercept first."""
        blocks = [*self.blocks.values(), *(product.block for product in self.products)]
        cells = [(name, b.kind, b.source) for b in blocks for name in b.names]
        cells.insert(0, ("1", "intercept", ""))
        return [FeatureColumn(place, *cell) for place, cell in enumerate(cells)]


def layout(spec: FeatureSpec) -> Layout:
    """Lay out the columns of a spec; column 0 is the intercept.

    Raises
    ------
    FeatureError
        If a feature is declared twice or an interaction names none.
    """
    blocks: dict[str, Block] = {}
    start = 1
    for source, kind, names in _declared(spec):
        if source in blocks:
            raise FeatureError(f"features: {source!r} is declared twice")
        if len(set(names)) != len(names):
            raise FeatureError(f"features.categories.{source}: a value is listed twice")
        blocks[source] = Block(source, kind, start, tuple(names))
        start += len(names)
    products = []
    for place, interaction in enumerate(spec.interactions):
        product = _product(interaction, place, blocks, spec.interaction_buckets, start)
        products.append(product)
        start += product.block.width
    return Layout(blocks, tuple(products))


def fingerprint(spec: FeatureSpec) -> str:
    """Name what a logged vector means: 16 hexadecimal digits that change with any column.

    Scaling changes no vector: it belongs to the policy. Specs that declare their features have the
    names that they had before there was ``auto``.

    >>> fingerprint(FeatureSpec()) == fingerprint(FeatureSpec(time_of_day=True))
    False
    >>> fingerprint(FeatureSpec()) == fingerprint(FeatureSpec(scale=True))
    True
    """
    columns = msgspec.structs.asdict(msgspec.structs.replace(spec, scale=False))
    if spec.auto is None:
        del columns["auto"]
    return blake2b(b"features/1\n" + msgspec.json.encode(columns), digest_size=8).hexdigest()


def _declared(spec: FeatureSpec) -> list[tuple[str, str, Sequence[str]]]:
    declared: list[tuple[str, str, Sequence[str]]] = []
    declared += [(name, "number", [name]) for name in spec.numeric]
    declared += [(f"profile.{name}", "profile", [f"profile.{name}"]) for name in spec.profile]
    for name, width in spec.vectors.items():
        declared.append((name, "vector", [f"{name}[{i}]" for i in range(width)]))
    for name, values in spec.categories.items():
        listed = [value for value in values if value != OTHER]
        declared.append((name, "category", [f"{name}={value}" for value in [*listed, OTHER]]))
    for name, buckets in spec.hashed.items():
        declared.append((name, "hashed", [f"{name}#{i}" for i in range(buckets)]))
    if spec.profile_embedding:
        names = [f"profile.embedding[{i}]" for i in range(spec.profile_embedding)]
        declared.append(("profile.embedding", "embedding", names))
    if spec.time_of_day:
        names = ["time_of_day.sin", "time_of_day.cos"]
        declared.append(("time_of_day", "time", names))
    return declared


def _product(
    interaction: Interaction, place: int, blocks: dict[str, Block], buckets: int, start: int
) -> Product:
    for side in ("left", "right"):
        if getattr(interaction, side) not in blocks:
            raise FeatureError(
                f"features.interactions[{place}].{side}: "
                f"{getattr(interaction, side)!r} is not a declared feature"
            )
    left, right = blocks[interaction.left], blocks[interaction.right]
    source = f"{left.source}*{right.source}"
    hashed = left.width * right.width > buckets
    if hashed:
        names = [f"{source}#{i}" for i in range(buckets)]
    else:
        names = [f"{a}*{b}" for a in left.names for b in right.names]
    return Product(Block(source, "interaction", start, tuple(names)), left, right, hashed)
