"""Features without a declaration: any JSON of a context or an action as a sparse vector."""

from operators.logic.features.auto.encoder import AutoEncoder
from operators.logic.features.auto.encodings import ActionEncodings
from operators.logic.features.auto.names import NameHashes, namespace_hash
from operators.logic.features.auto.sparse import SparseFeatures

__all__ = ["ActionEncodings", "AutoEncoder", "NameHashes", "SparseFeatures", "namespace_hash"]
