"""Whatever the catalog and the requests hold, what is written fits and can be read back."""

import pytest
from bytewax.testing import run_main

from operators.io.store.rows import row_of
from operators.persist import DECODERS
from schemas import bounds
from schemas.codec import Flaw, decode, decode_with
from schemas.results import Outcome, PolicySnapshot
from schemas.settings import load
from schemas.topics import Topic
from tests.support.widest import Written, widest_actions, widest_slot, write_everything

SETTINGS = load({}, secret="a secret of tests", partitions=1)
LIMIT = SETTINGS.kafka.max_record_bytes


def assert_all_of_it_fits_and_reads(written: Written) -> None:
    assert written.refused == []
    for topic, messages in written.messages.items():
        for message in messages:
            assert len(message.value) + len(message.key or b"") <= LIMIT, topic
            assert not isinstance(decode(topic, message.value, LIMIT), Flaw)
            stored = decode_with(DECODERS[topic], message.value, LIMIT)
            assert not isinstance(stored, Flaw), (topic, stored)
            row_of(stored)
    for copy in written.copies:
        assert len(copy.key.encode()) < 5_000
        size = sum(len(name) + len(value) for name, value in copy.fields.items())
        assert size <= bounds.MOST_COPIED_BYTES


@pytest.mark.parametrize(
    ("kind", "actions", "columns", "slate_size"),
    [
        ("beta", 1_500, 0, 50),
        ("uniform", 5_000, 0, 1),
        ("diagonal", 60, 2_000, 3),
        ("logistic", 40, 60, 8),
    ],
)
def test_the_widest_slot_is_decided_learned_and_published(
    kind: str, actions: int, columns: int, slate_size: int
) -> None:
    slot = widest_slot(kind, columns=columns, slate_size=slate_size)
    written = write_everything(run_main, slot, widest_actions(slot, actions), SETTINGS)
    assert_all_of_it_fits_and_reads(written)
    assert len(written.messages[Topic.DECISIONS]) == 3
    outcomes = [decode(Topic.OUTCOMES, m.value) for m in written.messages[Topic.OUTCOMES]]
    assert {outcome.status for outcome in outcomes if isinstance(outcome, Outcome)} >= {"settled"}
    assert written.messages[Topic.PROFILES]
    snapshot = decode(Topic.POLICIES, written.messages[Topic.POLICIES][-1].value)
    assert isinstance(snapshot, PolicySnapshot)
    assert len(snapshot.actions) + snapshot.actions_left_out == actions
