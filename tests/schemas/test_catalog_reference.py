"""The reference says of the catalog's bounds what the constants and the policies' ranges say."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import inspect as types

from operators.logic.policies.beta import BetaParams
from operators.logic.policies.diagonal import DiagonalParams
from operators.logic.policies.linear import GaussianParams, LogisticParams
from operators.logic.policy_memory import most_actions
from schemas import bounds
from schemas.catalog import FeatureSpec, PolicySettings
from tests.schemas.test_topics_reference import rows, section
from tests.support import records as make

POLICIES = (Path(__file__).parents[2] / "docs" / "reference" / "policies.md").read_text()
TABLE = rows(section("Bounds of the catalog"))[2:]
MIB = 2**20


def numbers_in(text: str) -> set[float]:
    numbers = re.findall(r"[−-]?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?", text)
    return {float(number.replace(",", "").replace("−", "-")) for number in numbers}


@pytest.mark.parametrize(
    ("cell", "numbers"),
    [
        ("`content`, `features`, `policy.params`", {bounds.JSON_DEPTH, 64}),
        ("an action's `features`", {bounds.JSON_BYTES, bounds.MOST_ACTION_FEATURES}),
        ("`embedding`", {bounds.LONGEST_VECTOR}),
        ("`slots`", {bounds.MOST_NAMES}),
        (
            "`variations`",
            {bounds.MOST_VARIATIONS, bounds.LEAST_WEIGHT_SHARE, bounds.GREATEST_WEIGHT},
        ),
        ("experiments of a slot", {bounds.MOST_EXPERIMENTS}),
        ("`layer`", {bounds.LAYER_BUCKETS}),
        (
            "`targeting`",
            {bounds.MOST_CONDITIONS, bounds.MOST_CONDITION_VALUES, bounds.TEXT_LENGTH},
        ),
        ("`ramp`, `metrics`", {bounds.MOST_RAMP_STEPS, bounds.MOST_METRICS}),
        ("`gates`", {bounds.LONGEST_GATE, bounds.MOST_GATED}),
        ("`evidence`", {bounds.JSON_BYTES, bounds.JSON_DEPTH}),
        ("names of features", {bounds.ID_LENGTH}),
        ("`reward_window`", {bounds.LEAST_REWARD_WINDOW, bounds.LONGEST_REWARD_WINDOW}),
        ("`reward_range`", {bounds.GREATEST_REWARD, bounds.LEAST_REWARD_SPAN}),
        ("`publish_interval`", {bounds.LONGEST_PUBLISH_INTERVAL}),
        ("`publish_rewards`", {bounds.MOST_PUBLISH_REWARDS}),
        ("`item_features`", {bounds.MOST_ITEM_FEATURES, bounds.MOST_ITEM_COLUMNS}),
        ("`features` of a slot", {bounds.MOST_COLUMNS, bounds.MOST_MATRIX_COLUMNS}),
        (
            "`interactions`",
            {bounds.MOST_INTERACTIONS, bounds.MOST_LIT_PAIRS, bounds.MOST_SCALED_PAIRS},
        ),
        (
            "`features.auto`",
            {
                bounds.LEAST_BUCKET_BITS,
                bounds.MOST_BUCKET_BITS,
                bounds.MOST_UNDECLARED_FEATURES,
                bounds.MOST_CROSSED_FEATURES,
                bounds.MOST_CROSSES,
                bounds.MOST_IGNORED,
            },
        ),
        ("`shares`", {bounds.MOST_SHARES}),
        (
            "actions of a slot",
            {bounds.MOST_ACTIONS, bounds.POLICY_BYTES / MIB, bounds.MOST_RELATED_ACTIONS},
        ),
        ("the catalog", {bounds.CATALOG_BYTES / MIB}),
    ],
)
def test_the_table_of_bounds_says_what_the_constants_say(cell: str, numbers: set[float]) -> None:
    (row,) = [row for row in TABLE if cell in row[0]]
    assert numbers <= numbers_in(row[1])


def ranges(record: type[msgspec.Struct]) -> Iterator[tuple[str, list[float]]]:
    def limits(type_: Any) -> list[float]:
        if isinstance(type_, types.UnionType):
            return [number for each in type_.types for number in limits(each)]
        given = [getattr(type_, name, None) for name in ("ge", "le")]
        return [number for number in given if number is not None]

    for field in msgspec.structs.fields(record):
        yield field.name, limits(types.type_info(field.type))


COMMON = {name for name, _ in ranges(LogisticParams)}
"""What the other policies with features have `as of logistic`."""


@pytest.mark.parametrize(
    ("heading", "record", "others"),
    [
        ("beta", BetaParams, set()),
        ("logistic", LogisticParams, set()),
        ("gaussian", GaussianParams, COMMON),
        ("diagonal", DiagonalParams, COMMON),
    ],
)
def test_every_parameter_is_listed_with_its_range(
    heading: str, record: type[msgspec.Struct], others: set[str]
) -> None:
    section = re.search(rf"^## `{heading}`\n(.*?)(?=^## )", POLICIES, re.M | re.S)
    assert section is not None
    for name, limits in ranges(record):
        if name not in others:
            said = [line for line in section.group(1).split("\n") if f"`{name}`" in line]
            assert set(limits) <= numbers_in(" ".join(said)), name


def test_the_table_of_actions_says_how_many_there_may_be() -> None:
    section = re.search(r"^## How many actions\n(.*?)(?=^## )", POLICIES, re.M | re.S)
    assert section is not None
    header, _, *lines = rows(section.group(1))
    columns = [int(number) for number in numbers_in(header[2])]
    assert sorted(columns) == [40, 100, 512, bounds.MOST_COLUMNS]
    for line in lines:
        for kind in re.findall(r"`(\w+)`", line[0]):
            said = line[2].replace(",", "").replace("none", "0").split()
            made = [
                most_actions(
                    make.slot(
                        "home",
                        policy=PolicySettings(kind=kind),
                        features=FeatureSpec(hashed={"page": count - 1}),
                    )
                )
                for count in sorted(columns)
            ]
            assert [int(number) for number in said] == made
