"""The replay of a real log: nothing is lost, nothing is learned before it is scored."""

import csv
import gzip
import json
import random
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.testing import assert_allclose

from flows.cli.main import main
from flows.replay.evaluation import by_decision_time, progressive, values
from flows.replay.logged import WINDOW, action_id, catalog_of, records_of
from flows.replay.open_bandit import (
    POLICIES,
    SHIPPED,
    OpenBanditError,
    OpenBanditLog,
    clicks_by_item,
    production_prior,
    read_open_bandit,
    thompson_probabilities,
)
from flows.replay.replay import SECRET, replay
from operators.logic.deciding.quadrature import beta_probabilities
from schemas.catalog import PolicySettings, Slot
from schemas.events import Decision
from schemas.settings import Settings, load
from schemas.topics import Topic
from tests.support.records import action, outcome

ROWS = 400


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load({}, secret=SECRET)


@pytest.fixture(scope="module", params=POLICIES)
def log(request: pytest.FixtureRequest) -> OpenBanditLog:
    whole = read_open_bandit(SHIPPED, request.param)
    clicked = [row for row in whole.rows if row.click]
    return OpenBanditLog(
        whole.policy, sorted([*whole.rows[:ROWS], *clicked], key=lambda r: r.time), whole.items
    )


def test_the_extract_has_its_attribution_and_both_logs() -> None:
    text = (SHIPPED / "README.md").read_text()
    assert "Apache License, Version 2.0" in text
    assert "Open Bandit Dataset" in text
    for policy in POLICIES:
        found = read_open_bandit(SHIPPED, policy)
        assert len(found.rows) == 2000
        assert len(found.items) == 80
        assert all(a.time <= b.time for a, b in zip(found.rows, found.rows[1:], strict=False))


def test_each_row_becomes_its_decision_its_impression_and_its_click(
    log: OpenBanditLog, settings: Settings
) -> None:
    slot = catalog_of(log, PolicySettings())[0]
    assert isinstance(slot, Slot)
    records = records_of(log, slot.features, settings, eta=-5.0)
    counts = {topic: sum(map(len, by_shard.values())) for topic, by_shard in records.items()}
    clicks = sum(row.click for row in log.rows)
    assert counts == {
        Topic.DECISIONS: len(log.rows),
        Topic.IMPRESSIONS: len(log.rows),
        Topic.CLICKS: clicks,
    }
    decided = [
        msgspec.json.decode(record.value, type=Decision)
        for by_shard in records[Topic.DECISIONS].values()
        for record in by_shard
    ]
    by_number = {int(d.decision_id.rpartition("-")[2]): d for d in decided}
    for number, row in enumerate(log.rows):
        made = by_number[number]
        assert made.time == row.time
        assert made.action_id == action_id(row.item)
        assert made.propensity == row.propensity
        assert made.policy == "logged"
        assert made.subject is None
        assert (made.expires_at - made.time).total_seconds() == WINDOW
    assert records_of(log, slot.features, settings, eta=-5.0) == records


@pytest.mark.parametrize("kind", ["beta", "logistic"])
def test_the_flow_settles_every_row_and_counts_the_clicks_of_the_csv(
    log: OpenBanditLog, settings: Settings, kind: str
) -> None:
    wanted: Counter[int] = Counter()
    for row in log.rows:
        wanted[row.item] += row.click
    report = replay(log, dict(wanted), settings, PolicySettings(kind=kind), refresh=200)
    assert report.recounted
    assert report.dead_letters == {}
    assert report.settled == report.rows == len(log.rows)
    assert {k: n for k, n in report.clicks_by_action.items() if n} == {
        action_id(item): n for item, n in wanted.items() if n
    }
    assert sum(a.count for a in report.learned) == len(log.rows)
    assert sum(a.reward for a in report.learned) == report.clicks
    logged = report.values[0]
    assert_allclose(logged.ips.value, report.clicks / report.rows)
    assert [value.policy for value in report.values] == ["logged", kind, "uniform", "bts-prior"]


def test_a_wrong_recount_is_noticed(log: OpenBanditLog, settings: Settings) -> None:
    assert not replay(log, {3: 10_000}, settings, PolicySettings(), refresh=1000).recounted


def test_a_row_is_scored_by_the_rows_before_it_alone() -> None:
    slot = Slot(
        id="s",
        time=outcome(0).time,
        slot_id="home",
        policy=PolicySettings(params={"prior_reward": 1.0, "prior_failure": 3.0}),
    )
    actions = [action(f"a{k}") for k in range(3)]
    outcomes = by_decision_time([outcome(n, features=None, eta=0.0) for n in reversed(range(60))])
    found = progressive(slot, actions, outcomes, refresh=1)
    a, b = np.ones(3), np.full(3, 3.0)
    for row, settled in enumerate(outcomes):
        shown = int(settled.action_id[1:])
        assert_allclose(found.target[row], beta_probabilities(a, b)[shown], rtol=1e-9)
        a[shown] += settled.reward
        b[shown] += 1.0 - settled.reward
    means = {s.action_id: s.mean for s in found.posterior.summary()}
    assert_allclose([means[f"a{k}"] for k in range(3)], a / (a + b))
    changed = [*outcomes[:40], *(msgspec.structs.replace(o, reward=1.0) for o in outcomes[40:])]
    again = progressive(slot, actions, changed, refresh=1)
    assert_allclose(again.target[:41], found.target[:41])
    assert not np.allclose(again.target[41:], found.target[41:])


def test_values_put_the_policies_beside_the_logging_one() -> None:
    outcomes = by_decision_time([outcome(n) for n in range(40)])
    logged, other = values(outcomes, {"other": np.full(40, 0.25)})
    rewards = [o.reward for o in outcomes]
    assert_allclose(logged.ips.value, np.mean(rewards))
    assert logged.relative == 1.0
    weights = [0.25 / o.propensity for o in outcomes]
    assert_allclose(other.ips.value, np.mean(np.multiply(weights, rewards)))
    assert_allclose(other.relative, other.ips.value / logged.ips.value)


def test_a_log_without_a_click_has_no_ratio() -> None:
    outcomes = [msgspec.structs.replace(outcome(n), reward=0.0) for n in range(40)]
    (logged,) = values(by_decision_time(outcomes), {})
    assert logged.ips.value == 0.0
    assert logged.ips.high > 0.0
    assert logged.relative is logged.relative_low is logged.relative_high is None


def test_the_production_prior_gives_what_quadrature_gives() -> None:
    # 100,000 draws: five standard errors of each of 80 shares (error rate 5e-5).
    alpha, beta = production_prior()
    simulated = thompson_probabilities(alpha, beta)
    assert_allclose(simulated.sum(axis=0), 1.0)
    exact = beta_probabilities(alpha, beta)
    assert (np.abs(simulated[:, 0] - exact) < 5 * np.sqrt(exact / 100_000) + 1e-4).all()


CLICKED = [
    (1, 1), (3, 3), (6, 1), (6, 3), (7, 1), (8, 3), (9, 1), (17, 1), (18, 3), (18, 3), (21, 3),
    (25, 2), (28, 1), (34, 2), (36, 2), (36, 3), (38, 1), (41, 2), (44, 1), (44, 2), (45, 2),
    (46, 3), (47, 2), (48, 3), (49, 1), (49, 1), (49, 2), (50, 1), (53, 2), (53, 2), (57, 1),
    (57, 3), (58, 2), (58, 2), (61, 2), (65, 2), (69, 3), (71, 1),
]  # fmt: skip
"""Item and position of each click in the 10,000-row sample of the uniform policy."""


def test_the_published_value_of_thompson_sampling_comes_out() -> None:
    """Only clicked rows add to the value; its library's README prints 0.004553 and 1.198126."""
    p = thompson_probabilities(*production_prior())
    value = sum(80.0 * p[item, position - 1] for item, position in CLICKED) / 10_000
    assert round(value, 6) == 0.004553
    assert round(value / (len(CLICKED) / 10_000), 6) == 1.198126


def csv_recount(path: Path) -> Mapping[str, int]:
    with gzip.open(path, "rt") as lines:
        return Counter(row["item_id"] for row in csv.DictReader(lines) if row["click"] == "1")


@pytest.mark.parametrize("policy", POLICIES)
def test_the_recount_is_the_csv(policy: str) -> None:
    found = {str(item): n for item, n in clicks_by_item(SHIPPED, policy).items() if n}
    assert found == csv_recount(SHIPPED / policy / "all.csv.gz")


def test_the_command_prints_reports(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "--policy", "random", "--refresh", "500", "--json"]) == 0
    (report,) = json.loads(capsys.readouterr().out)
    assert report["rows"] == report["settled"] == 2000
    assert report["recounted"] is True
    assert report["dead_letters"] == {}
    assert main(["replay", "--policy", "bts", "--refresh", "1000", "--top", "2"]) == 0
    assert "bts-prior" in capsys.readouterr().out


HEADER = "timestamp,item_id,position,click,propensity_score," + ",".join(
    f"user_feature_{k}" for k in range(4)
)
ITEMS = "item_id,item_feature_0,item_feature_1,item_feature_2,item_feature_3\n0,0.5,a,b,c\n"
GOOD = "2019-11-24 00:00:34+00:00,0,1,0,0.5,u,v,w,x"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "holds no rows"),
        ([GOOD.replace("0.5", "0.0")], "line 2: propensity_score: '0.0' is not from"),
        ([GOOD.replace("0.5", "nan")], "line 2: propensity_score: 'nan' is not from"),
        ([GOOD.replace(",0,0.5", ",2,0.5")], "line 2: click: '2' is not from 0 to 1"),
        ([GOOD.replace(",0,0.5", ",0.5,0.5")], "line 2: click: '0.5' is not a whole number"),
        ([GOOD.replace(",0,0.5", ",1e999,0.5")], "line 2: click: '1e999' is not from 0 to 1"),
        ([GOOD, GOOD.replace(",0,1,", ",x,1,")], "line 3: item_id: 'x' is not a number"),
        ([GOOD.replace(",0,1,", ",0,4,")], "line 2: position: '4' is not from 1 to 3"),
        ([GOOD.replace("2019-11-24 00:00:34+00", "0001-01-01 00:00:00+14")], "line 2: timestamp"),
        (["2019-11-24,0"], "line 2: position: None is not a number"),
        ([GOOD, "x" * 200_000], "all.csv cannot be read: field larger"),
        ([GOOD.replace(",0,1,", ",7,1,")], "lacks item 7"),
        ([GOOD.replace("2019-11-24", "yesterday")], "line 2: Invalid isoformat"),
    ],
)
def test_a_bad_log_is_refused_by_file_and_line(
    tmp_path: Path, rows: list[str], message: str
) -> None:
    folder = tmp_path / "random"
    folder.mkdir()
    (folder / "all.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    (folder / "item_context.csv").write_text(ITEMS)
    with pytest.raises(OpenBanditError, match=message):
        read_open_bandit(tmp_path, "random")


def test_a_missing_log_or_column_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", str(tmp_path), "--policy", "bts"]) == 2
    assert "bts/all.csv[.gz] does not exist" in capsys.readouterr().err
    folder = tmp_path / "bts"
    folder.mkdir()
    (folder / "all.csv").write_text("timestamp,item_id\n2019-11-24 00:00:34+00:00,0\n")
    with pytest.raises(OpenBanditError, match="there is no column 'position'"):
        read_open_bandit(tmp_path, "bts")


def test_clicks_may_be_written_as_pandas_writes_a_column_with_gaps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "random"
    folder.mkdir()
    rows = [GOOD, GOOD.replace(",0,1,0,", ",0.0,2.0,1.0,")]
    (folder / "all.csv").write_bytes("\r\n".join([HEADER, *rows, ""]).encode("utf-8-sig"))
    (folder / "item_context.csv").write_text(ITEMS)

    assert main(["replay", str(tmp_path), "--policy", "random", "--json"]) == 0

    captured = capsys.readouterr()
    (report,) = json.loads(captured.out)
    assert (report["rows"], report["clicks"], report["recounted"]) == (2, 1, True)
    assert captured.err == ""


def spoiled(rng: random.Random, log: bytes) -> bytes:
    """Change a log at random places, cut it, or write it in another encoding."""
    for _ in range(rng.randrange(4)):
        place = rng.randrange(len(log))
        piece = rng.choice(
            [b"", b"1.0", b"1e999", b"nan", b"-1", b",", b"\n", b'"', b"\0", b"\xff", b"9" * 400]
        )
        log = log[:place] + piece + log[place + rng.randrange(6) :]
    kind = rng.randrange(6)
    if kind == 0:
        log = log[: rng.randrange(len(log))]
    elif kind == 1:
        log = log.decode(errors="replace").encode("utf-16")
    return log


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_any_file_is_a_log_or_refused_with_a_sentence(tmp_path: Path, packed: bool) -> None:
    folder = tmp_path / "random"
    folder.mkdir()
    (folder / "item_context.csv").write_text(ITEMS)
    path = folder / ("all.csv.gz" if packed else "all.csv")
    log = "\n".join([HEADER, GOOD, GOOD.replace(",1,0,", ",3,1.0,"), ""]).encode()
    rng, read, refused = random.Random(5), 0, set()
    for _ in range(400):
        text = spoiled(rng, log)
        if packed:  # also what is no gzip, and what ends too early
            whole = gzip.compress(text)
            text = rng.choice([text, whole, whole[: -rng.randrange(30)]])
        path.write_bytes(text)
        try:
            log_read = read_open_bandit(tmp_path, "random")
        except OpenBanditError as error:
            refused.add(str(error).partition("/all.csv")[0])
            continue
        read += 1
        assert sum(clicks_by_item(tmp_path, "random").values()) == sum(
            r.click for r in log_read.rows
        )
        assert all(row.position in (1, 2, 3) and 0 < row.propensity <= 1 for row in log_read.rows)
    assert read > 20
    assert refused == {str(folder)}
