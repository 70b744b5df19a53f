"""Which decisions of a batch are copied to Redis."""

import random

import msgspec

from operators.cache import decision_copies, redis_decision_key
from tests.support.histories import Visitors

TTL = 60.0


def test_of_a_batch_the_newest_decision_of_each_subject_and_slot_is_copied() -> None:
    visitors = Visitors()
    made = [visitors.decision(f"slot{n % 3}", f"s{n % 2}", 1000 + n, n) for n in range(24)]
    shuffled = random.Random(3).sample(made, len(made))
    copies = {copy.key: (copy.version, copy.fields) for copy in decision_copies(shuffled, TTL)}
    assert copies == {
        redis_decision_key(event.subject, event.body.slot_id): (
            event.at,
            {"decision": event.payload},
        )
        for event in made[-6:]
    }


def test_of_equal_times_the_last_is_copied() -> None:
    visitors = Visitors()
    first, last = visitors.decision("home", "s", 5, 1), visitors.decision("home", "s", 5, 2)
    [copy] = decision_copies([first, last], TTL)
    assert copy.fields == {"decision": last.payload}


def test_what_has_no_subject_or_is_no_decision_leaves_no_copy() -> None:
    visitors = Visitors()
    decision = visitors.decision("home", "s", 5, 1)
    nameless = msgspec.structs.replace(decision, subject="")
    assert decision_copies([nameless, visitors.impression(decision, 6)], TTL) == []
