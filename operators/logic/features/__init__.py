"""Requests and actions as vectors, by the slot's feature spec."""

from operators.logic.features.items import action_matrix
from operators.logic.features.layout import Column, FeatureError, fingerprint
from operators.logic.features.mapping import LIMIT, FeatureMap
from operators.logic.features.packing import pack, pack_rows, packed_dim, packed_length, unpack_rows
from operators.logic.features.scaling import Scaler, Scaling

__all__ = [
    "LIMIT",
    "Column",
    "FeatureError",
    "FeatureMap",
    "Scaler",
    "Scaling",
    "action_matrix",
    "fingerprint",
    "pack",
    "pack_rows",
    "packed_dim",
    "packed_length",
    "unpack_rows",
]
