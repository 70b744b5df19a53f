"""The cost of every field grows linearly: twice the length costs at most twice as much."""

import pytest
from msgspec.structs import fields

from ops.benchmarks.fields import CASES, growth
from schemas.events import Consent, DecisionRequest

LIMIT = 1.6
"""A quadratic cost has the exponent 2; on a busy machine a linear one may look steeper than 1."""


@pytest.mark.parametrize("name", CASES)
def test_a_field_costs_what_its_length_is(name: str) -> None:
    exponents = (growth(name, doublings=3, rounds=3)[0] for _ in range(3))
    assert any(exponent < LIMIT for exponent in exponents)


def test_every_list_of_a_record_is_measured() -> None:
    for record, said in ((DecisionRequest, "request"), (Consent, "consent")):
        for field in fields(record):
            if "list" in str(field.type) and field.name != "context":
                assert any(name.startswith(f"{said}: {field.name}") for name in CASES), field.name
