"""Requests and actions as vectors, by the slot's feature spec."""

from operators.logic.features.feature_counts import check_products, count_columns
from operators.logic.features.feature_map import LIMIT, FeatureMap
from operators.logic.features.items import action_matrix
from operators.logic.features.layout import FeatureColumn, FeatureError, fingerprint
from operators.logic.features.packing import pack, pack_rows, packed_dim, packed_length, unpack_rows
from operators.logic.features.scaling import (
    Coordinates,
    Moments,
    Scaled,
    coordinates,
    scaled_columns,
)

__all__ = [
    "LIMIT",
    "Coordinates",
    "FeatureColumn",
    "FeatureError",
    "FeatureMap",
    "Moments",
    "Scaled",
    "action_matrix",
    "check_products",
    "coordinates",
    "count_columns",
    "fingerprint",
    "pack",
    "pack_rows",
    "packed_dim",
    "packed_length",
    "scaled_columns",
    "unpack_rows",
]
