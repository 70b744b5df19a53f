"""What every store promises; one suite, run on each of them."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Raw

from flows.runtime.clock import system_clock
from flows.runtime.neighbours import with_neighbours
from operators.io.reading import read_undecoded
from operators.io.store.protocol import Store, Writes, compact
from operators.io.store.rows import RecordPlace, row_of
from operators.io.store.tables import TABLES
from operators.logic.deciding.contents import content_hash
from operators.logic.deciding.positions import position_key
from operators.persist import rows_of
from schemas.catalog import Neighbour
from schemas.events import Assignment, LoggedFeatures, Placed
from schemas.topics import Topic
from tests.support import records as make

EMPTY = dict.fromkeys(TABLES, 0)


def write(store: Store, *records: Any, offset: int = 0) -> Any:
    return store.apply(make.writes(*records, offset=offset))


def everything() -> list[Any]:
    return [
        make.slot("home"),
        make.action("a0"),
        make.experiment("exp"),
        make.profile("s1", 1),
        make.decision(1, contents=[logged("a1", b'{"price":1.5}')]),
        make.outcome(1),
        make.policy("home", 1),
        make.checkpoint("home"),
        make.report("exp"),
        make.winner("home"),
        make.delivery("n1"),
        make.receipt("r1"),
        make.dead_letter(3),
    ]


def test_the_experiments_of_a_decision_are_kept(store: Store) -> None:
    counted = Assignment(experiment_id="e", variation_id="v", probability=0.25, unit="subject")
    forced = msgspec.structs.replace(counted, experiment_id="f", not_counted="forced")
    write(store, make.decision(1, experiments=[counted, forced]), make.decision(2))
    (named,) = store.decision("d1")
    assert named["experiments"] == [
        {"experiment_id": "e", "variation_id": "v", "probability": 0.25, "unit": "subject"},
        {
            "experiment_id": "f",
            "variation_id": "v",
            "probability": 0.25,
            "unit": "subject",
            "not_counted": "forced",
        },
    ]
    (none,) = store.decision("d2")
    assert none["experiments"] == []


def logged(action_id: str, features: bytes) -> LoggedFeatures:
    return LoggedFeatures(action_id, Raw(features))


def test_empty_store_finds_nothing(store: Store) -> None:
    assert store.counts() == EMPTY
    assert store.decision("d1") == []
    assert store.profile("s1") is None
    assert store.policy("home") is None
    assert store.similar_profiles([1.0, 0.0], 3) == []
    assert store.rows("slots") == []
    store.ping()


def test_migrating_again_changes_nothing(store: Store) -> None:
    write(store, *everything())
    assert store.migrate(system_clock()) == []
    assert store.counts() == dict.fromkeys(TABLES, 1)
    assert all(row["applied_at"] is not None for row in store.status())


def test_every_kind_of_record_is_kept_once_however_often_it_comes(store: Store) -> None:
    for _ in range(3):
        write(store, *everything(), *everything())
    assert store.counts() == dict.fromkeys(TABLES, 1)


def test_the_first_decision_of_a_key_stays(store: Store) -> None:
    write(store, make.decision(1, action_id="a1"), make.decision(1, action_id="a2"))
    write(store, make.decision(1, action_id="a0"), offset=2)
    (found,) = store.decision("d1")
    assert found["action_id"] == "a1"


def test_a_decision_reads_back_with_its_outcome(store: Store) -> None:
    made = make.decision(7, subject=None, decided_at=None, policy_time=make.START)
    write(store, made, make.outcome(7, subject=None, delay=1.25))
    (found,) = store.decision("d7")
    outcome = found.pop("outcome")
    assert found["time"] == made.time
    assert found["expires_at"] == made.expires_at
    assert found["policy_time"] == make.START
    assert found["decided_at"] is None
    assert found["subject"] is None
    assert found["ranking"] == [
        {"action_id": item.action_id, "probability": item.probability} for item in made.ranking
    ]
    assert found["propensity"] == made.propensity
    assert found["eta"] == made.eta
    assert found["deferred"] is False
    assert found["request_hash"] == ""
    expected = np.random.default_rng(7).normal(size=4).astype("<f4")
    assert found["features"] == expected.tolist()
    assert outcome["delay"] == 1.25
    assert outcome["subject"] is None
    assert outcome["status"] == "pending"


def test_each_position_of_a_slate_reads_back_with_its_outcome(store: Store) -> None:
    placed = [Placed("a1", 0.5, 0.25), Placed("a2", 0.25, -1.5)]
    second = make.outcome(7, key=f"{position_key(7, 1):016x}", action_id="a2")
    write(store, make.decision(7, slate=placed), second, make.decision(8, slate=placed))
    (found,) = store.decision("d7")
    slate = found["slate"]
    assert [(each["action_id"], each["probability"], each["eta"]) for each in slate] == [
        ("a1", 0.5, 0.25),
        ("a2", 0.25, -1.5),
    ]
    assert found["outcome"] is slate[0]["outcome"] is None
    assert slate[1]["outcome"]["action_id"] == "a2"
    assert store.decision("d8")[0]["slate"][1]["outcome"] is None


def test_features_of_actions_are_kept_once_for_each_content(store: Store) -> None:
    red, blue = b'{"n":1,"tags":["red"]}', b'[{"n":2}]'
    shown = [
        [logged("a0", red), logged("a1", blue)],
        [logged("a7", b'{"tags": ["red"], "n": 1}'), logged("a8", b"5")],
        None,
    ]
    for _ in range(2):
        write(store, *[make.decision(n, contents=each) for n, each in enumerate(shown)])
    hashes = {text: content_hash(text) for text in (red, blue)}
    found = [store.decision(f"d{n}")[0]["contents"] for n in range(3)]
    assert found == [{"a0": hashes[red], "a1": hashes[blue]}, {"a7": hashes[red]}, None]
    assert store.content(hashes[blue]) == {"content": hashes[blue], "features": [{"n": 2}]}
    assert store.content("0" * 16) is None
    kept = {row["content"]: row["features"] for row in store.rows("action_contents")}
    assert kept == {hashes[text]: msgspec.json.decode(text) for text in (red, blue)}


def test_decisions_of_several_subjects_may_share_an_id(store: Store) -> None:
    first = make.decision(1)
    second = make.decision(2, decision_id="d1")
    write(store, second, first)
    assert [row["decision_key"] for row in store.decision("d1")] == [first.key, second.key]


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_shuffled_repeated_outcomes_leave_the_newest(store: Store, data: Any) -> None:
    """Any order, any repetition, any cut into transactions: the highest revision stays."""
    numbers = range(1000, 1004)
    life = [
        make.outcome(number, revision, status=status, reward=revision / 8)
        for number in numbers
        for revision, status in ((1, "pending"), (2, "pending"), (2, "settled"), (3, "void"))
    ]
    shuffled = data.draw(st.permutations(life + life[: len(life) // 2]))
    cut = data.draw(st.integers(0, len(shuffled)))
    write(store, *shuffled[:cut])
    write(store, *shuffled[cut:], *[make.decision(number) for number in numbers])
    for number in numbers:
        (found,) = store.decision(f"d{number}")
        assert (found["outcome"]["revision"], found["outcome"]["status"]) == (3, "void")
        assert found["outcome"]["reward"] == 3 / 8


def test_settled_beats_pending_and_void_beats_settled_of_the_same_revision(store: Store) -> None:
    write(store, make.decision(1), make.outcome(1, 2, status="void"))
    write(store, make.outcome(1, 2, status="settled"), make.outcome(1, 2, status="pending"))
    assert store.decision("d1")[0]["outcome"]["status"] == "void"


def test_an_older_profile_never_overwrites_a_newer_one(store: Store) -> None:
    write(store, make.profile("s1", 5), make.profile("s1", 4))
    write(store, make.profile("s1", 3))
    found = store.profile("s1")
    assert found is not None
    assert found["version"] == 5
    assert found["features"] == {"visits": 5.0, "rate": 0.1}
    assert found["embedding"] == [1.0, 5.0, 0.25]
    assert found["purposes"] == [1, 5, 6]


def test_of_two_profiles_with_one_version_the_later_holds_in_any_order(store: Store) -> None:
    """As somebody else may write them, on partitions that are read in no order."""
    early = make.profile("s1", 5, features={"visits": 1.0})
    late = make.profile("s1", 5, time=early.time + timedelta(seconds=1), features={"visits": 2.0})
    for number, (first, then) in enumerate([(early, late), (late, early)]):
        subject = f"s{number}"
        write(store, msgspec.structs.replace(first, subject=subject))
        both = [msgspec.structs.replace(each, subject=subject) for each in (then, first)]
        write(store, *both)
        found = store.profile(subject)
        assert found is not None
        assert found["features"] == {"visits": 2.0}


def test_of_two_catalog_records_with_one_time_and_id_the_first_holds_as_in_the_flow(
    store: Store,
) -> None:
    for number, at_once in enumerate((True, False)):
        first = make.action(f"a{number}", enabled=True)
        second = msgspec.structs.replace(first, enabled=False)
        if at_once:
            write(store, first, second)
        else:
            write(store, first)
            write(store, second)
        (found,) = [row for row in store.rows("actions") if row["action_id"] == f"a{number}"]
        assert found["enabled"] is True


def test_a_deleted_profile_keeps_nothing_of_the_subject(store: Store) -> None:
    write(store, make.profile("s1", 1))
    write(store, make.profile("s1", 2, deleted=True, purposes=[]))
    found = store.profile("s1")
    assert found is not None
    assert (found["deleted"], found["features"], found["embedding"]) == (True, {}, None)
    assert store.similar_profiles([1.0, 1.0, 0.25], 5) == []


def test_policies_and_catalog_keep_the_newest(store: Store) -> None:
    write(store, make.policy("home", 2), make.policy("home", 1), make.slot("home", 5))
    write(store, make.slot("home", 4, policy={"kind": "beta"}), make.slot("other", 1))
    found = store.policy("home")
    assert found is not None
    assert found["version"] == 2
    assert found["actions"][0]["action_id"] == "a0"
    assert found["posterior"] == "AAECAw==" * 40
    assert [(row["slot_id"], row["policy"]) for row in store.rows("slots")] == [
        ("home", "logistic"),
        ("other", "logistic"),
    ]


def test_winners_are_kept_with_their_history(store: Store) -> None:
    made = [make.winner("home"), make.winner("home", 60, action_id="a1", segment="all")]
    bare = make.winner("home", 90, experiment_id=None, policy_version=None, probability=None)
    bare.content, bare.reason = None, ""
    write(store, made[0], bare, made[1])
    write(store, make.winner("home", action_id="later-with-the-same-key"))
    expected = [msgspec.structs.asdict(record) for record in (made[1], made[0], bare)]
    assert store.rows("optimized_content") == expected


def test_a_delivery_keeps_its_newest_revision(store: Store) -> None:
    newest = make.delivery("n1", 3, status="sent", reason="", updated_at=None, decision_id=None)
    bare = make.delivery("n2", 0, status="suppressed", subject=None, attempts=0)
    write(store, make.delivery("n1", 1), newest, make.delivery("n1", 2, status="failed"), bare)
    write(store, make.delivery("n1", 2))
    assert store.rows("deliveries") == [msgspec.structs.asdict(made) for made in (newest, bare)]


def test_a_delivery_of_an_unknown_status_is_refused(store: Store) -> None:
    applied = write(store, make.delivery("n1", status="lost"), make.delivery("n2"))
    assert sum(applied.refused.values()) == 1
    assert [row["delivery_id"] for row in store.rows("deliveries")] == ["n2"]


def test_a_receipt_is_written_once(store: Store) -> None:
    made = make.receipt("r1")
    write(store, made)
    write(store, make.receipt("r1", removed={}))
    assert store.rows("erasures") == [msgspec.structs.asdict(made)]


def test_rows_are_listed_in_pages_by_key(store: Store) -> None:
    write(store, *[make.profile(f"s{number}", 1) for number in (3, 1, 4, 2, 5)])
    first = store.rows("user_profiles", limit=2)
    second = store.rows("user_profiles", after=first[-1]["subject"], limit=9)
    assert [row["subject"] for row in first + second] == ["s1", "s2", "s3", "s4", "s5"]


def test_neighbours_come_by_cosine_distance(store: Store) -> None:
    angles = {"north": 90.0, "east": 0.0, "south": 270.0, "near": 10.0}
    write(
        store,
        *[
            make.action(
                name, embedding=[3 * math.cos(math.radians(at)), 3 * math.sin(math.radians(at))]
            )
            for name, at in angles.items()
        ],
        make.action("gone", deleted=True, embedding=[1.0, 0.0]),
        make.action("blank", embedding=None),
        make.action("still", embedding=[0.0, 0.0]),
        make.action("longer", embedding=[1.0, 0.0, 0.0]),
    )
    found = store.similar_actions([1.0, 0.0], 3)
    assert [item.id for item in found[:2]] == ["east", "near"]
    assert len(found) == 3
    assert found[0].distance == pytest.approx(0.0, abs=1e-6)
    assert found[1].distance == pytest.approx(1 - math.cos(math.radians(10)), abs=1e-6)
    assert found[2].distance == pytest.approx(1.0, abs=1e-6)


def test_new_actions_get_neighbours_of_their_slots(store: Store) -> None:
    """The store answers for what it holds; what is published with an action counts as well."""
    write(
        store,
        make.action("near", embedding=[1.0, 0.1]),
        make.action("off", enabled=False, embedding=[1.0, 0.0]),
        *[make.action(f"shop{i}", slots=["shop"], embedding=[1.0, 0.0]) for i in range(9)],
        make.action("moved", embedding=[1.0, 0.0]),
        make.action("opposite", embedding=[-1.0, 0.0]),
    )
    new = make.action("new", embedding=[1.0, 0.0])
    moved, twin = make.action("moved", 1, embedding=[0.6, 0.8]), make.action("twin", 1)
    given = make.action("given", 1, neighbours=[Neighbour(action_id="near", similarity=0.5)])
    blank = make.action("blank", 1, embedding=[0.0, 0.0])
    found = with_neighbours(store, [make.slot("home"), new, moved, twin, given, blank], 3)
    first = [(near.action_id, near.similarity) for near in found[1].neighbours]
    assert first == [
        ("near", pytest.approx(0.995037, abs=2e-6)),
        ("given", pytest.approx(0.707107, abs=2e-6)),
        ("twin", pytest.approx(0.707107, abs=2e-6)),
    ]
    assert found[4].neighbours == given.neighbours
    assert (found[0], found[5]) == (make.slot("home"), blank)


def test_a_query_of_another_dimension_says_so(store: Store) -> None:
    write(store, make.profile("s1", 1))
    with pytest.raises(ValueError, match="has 2 numbers, the embeddings of user_profiles have 3"):
        store.similar_profiles([1.0, 0.0], 3)
    with pytest.raises(ValueError, match="not zero"):
        store.similar_profiles([0.0, 0.0, 0.0], 3)


def test_a_refused_row_becomes_a_dead_letter_and_nothing_else_is_lost(store: Store) -> None:
    records = [make.decision(number) for number in range(5)]
    refused = make.outcome(2, propensity=1.5, reason="xxx")
    applied = write(store, *records, make.outcome(1), refused, make.outcome(3))
    assert sum(applied.refused.values()) == 1
    counts = store.counts()
    assert (counts["decisions"], counts["outcomes"], counts["dead_letters"]) == (5, 2, 1)
    (letter,) = store.rows("dead_letters")
    assert (letter["topic"], letter["topic_offset"]) == ("outcomes", 6)
    assert letter["reason"] == "refused_by_store"
    assert "xxx" not in letter["detail"]


def test_a_refused_newest_state_does_not_take_the_older_one_with_it(store: Store) -> None:
    write(
        store,
        make.decision(1),
        make.outcome(1, 1),
        make.outcome(1, 2, propensity=1.5),
    )
    assert store.decision("d1")[0]["outcome"]["revision"] == 1
    assert store.counts()["dead_letters"] == 1


def test_a_decision_is_kept_with_its_writer(store: Store) -> None:
    store.apply(make.writes(make.decision(1), make.decision(2, writer="edge")))
    assert [store.decision(name)[0]["writer"] for name in ("d1", "d2")] == ["personalize", "edge"]


def test_records_that_do_not_decode_become_dead_letters(store: Store) -> None:
    good = make.event(make.decision(1), 0)
    payloads = [
        b"{",
        b"",
        good.payload.replace(b'"key":"', b'"key":"x'),
        good.payload.replace(b'Z"', b'"'),
    ]
    bad = [
        read_undecoded(Topic.DECISIONS, 3, None, payload, offset, good.origin.time)
        for offset, payload in enumerate(payloads, 1)
    ]
    store.apply(rows_of(3, [*bad, good]))
    letters = store.rows("dead_letters")
    assert [(row["topic_partition"], row["topic_offset"], row["reason"]) for row in letters] == [
        (3, 1, "not_json"),
        (3, 2, "empty"),
        (3, 3, "invalid_value"),
        (3, 4, "time_without_zone"),
    ]
    assert store.counts()["decisions"] == 1


def test_a_text_that_does_not_fit_is_refused_by_name(store: Store) -> None:
    long = "😀" * 257
    write(
        store,
        make.outcome(1, reason=long),
        make.decision(1, policy=long),
        make.decision(2, subject=long),
        make.profile(long, 1),
        make.slot("home", id="x", policy={"kind": long}),
    )
    letters = store.rows("dead_letters")
    assert [letter["field"] for letter in letters if letter["topic"] != "catalog"][:2] == [
        "policy",
        "subject",
    ]
    assert {letter["topic"] for letter in letters} == {
        "outcomes",
        "decisions",
        "profiles",
        "catalog",
    }
    assert len(letters) == 5


TEXTS = [
    "a",
    "é",
    "漢字",
    "😀" * 256,
    "quote'\"",
    "semi;--",
    "line\nbreak",
    "\\",
    " lead",
    "trail ",
]


@pytest.mark.parametrize("value", TEXTS)
def test_text_reads_back_as_it_was(store: Store, value: str) -> None:
    write(store, make.decision(1, slot_id=value, decision_id=value))
    (found,) = store.decision(value)
    assert found["slot_id"] == value


NUMBERS = [0.0, 1.0, -1.5, 0.1, 1e-300, 2.2250738585072014e-308, 1.7e308, -1.7e308, 5e-324]


@pytest.mark.parametrize("value", NUMBERS)
def test_numbers_read_back_bit_for_bit(store: Store, value: float) -> None:
    write(store, make.policy("home", 1, rewards=value))
    policy = store.policy("home")
    assert policy is not None
    assert policy["rewards"] == value


TIMES = [
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
    datetime(2026, 3, 29, 1, 30, 0, 1, tzinfo=UTC),
    datetime(2199, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
]


@pytest.mark.parametrize("value", TIMES)
def test_times_keep_their_microseconds_in_utc(store: Store, value: datetime) -> None:
    write(store, make.report("exp", time=value))
    (found,) = store.rows("experiment_results")
    assert found["time"] == value
    assert found["time"].utcoffset() == timedelta(0)


def test_integers_reach_64_bits(store: Store) -> None:
    largest = 2**53 + 1
    write(
        store,
        msgspec.structs.replace(make.policy("home", 1), version=largest),
        make.dead_letter(2**62),
    )
    policy = store.policy("home")
    assert policy is not None
    assert policy["version"] == largest
    assert store.rows("dead_letters")[0]["topic_offset"] == 2**62


def test_long_texts_and_documents_are_kept_whole(store: Store) -> None:
    title = "漢" * 20_000
    write(store, make.policy("home", 1, posterior="QUJD" * 100_000))
    write(store, make.action("a0", content={"title": title, "empty": "", "none": None, "list": []}))
    found = store.policy("home")
    assert found is not None
    assert found["posterior"] == "QUJD" * 100_000
    assert store.rows("actions")[0]["content"] == {
        "title": title,
        "empty": "",
        "none": None,
        "list": [],
    }


def test_json_numbers_keep_their_value(store: Store) -> None:
    features = {"tiny": 1e-30, "tenth": 0.1, "third": 1 / 3, "large": 1e30, "negative": -2.5}
    write(store, make.profile("s1", 1, features=features))
    found = store.profile("s1")
    assert found is not None
    assert found["features"] == features


def test_long_vectors_are_kept_bit_for_bit(store: Store) -> None:
    numbers = np.random.default_rng(3).normal(size=1536).astype("<f4").tolist()
    write(store, make.profile("s1", 1, embedding=numbers))
    found = store.profile("s1")
    assert found is not None
    assert found["embedding"] == numbers


def test_empty_texts_and_missing_values(store: Store) -> None:
    """An optional id that is empty counts as missing; a text that may be empty stays so."""
    write(store, make.decision(1, experiment_id="", variation_id=None, features=None))
    write(store, make.outcome(1, policy="", reason="", settled_at=None, delay=None))
    (found,) = store.decision("d1")
    assert (found["experiment_id"], found["variation_id"], found["features"]) == (None, None, None)
    outcome = found["outcome"]
    assert (outcome["policy"], outcome["reason"]) == ("", "")
    assert (outcome["settled_at"], outcome["delay"]) == (None, None)


def test_a_transaction_of_more_rows_than_an_array_holds(store: Store) -> None:
    write(store, *[make.report("exp", number) for number in range(1050)])
    assert store.counts()["experiment_results"] == 1050


def test_repeats_and_refusals_are_found_in_every_array_of_a_transaction(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("operators.io.store.oracle.store._ARRAY", 20)
    decisions = [make.decision(number) for number in range(45)]
    outcomes = [make.outcome(number) for number in range(30)]
    write(store, *decisions)
    refused = make.outcome(50, propensity=1.5)
    applied = write(store, *decisions, make.decision(49), *outcomes[:25], refused, *outcomes[25:])
    assert sum(applied.refused.values()) == 1
    counts = store.counts()
    assert (counts["decisions"], counts["outcomes"], counts["dead_letters"]) == (46, 30, 1)
    assert store.rows("dead_letters")[0]["topic_offset"] == 45 + 1 + 25


def test_compaction_keeps_what_the_table_would_keep(store: Store) -> None:
    life = [make.outcome(1, revision) for revision in (2, 1, 3, 3, 1)]
    rows = [row_of(record)[1] for record in life]
    assert [row[2] for row in compact(TABLES["outcomes"], rows)] == [3]
    one_by_one = Writes()
    for record in life:
        table, row = row_of(record)
        one_by_one = Writes()
        one_by_one.add(table, row, RecordPlace("outcomes", 0, 0, 0, b""))
        store.apply(one_by_one)
    write(store, make.decision(1))
    assert store.decision("d1")[0]["outcome"]["revision"] == 3
