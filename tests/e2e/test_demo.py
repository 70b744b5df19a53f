"""``banditflow demo`` by itself: all its parts, both its slots, and what it says at the end."""

import json
from pathlib import Path

import pytest

from flows.cli.main import main


def test_the_demo_runs_both_slots_and_says_what_each_came_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "demo.svg"
    arguments = ["--seconds=4", "--rate=40", "--articles=0.5", "--policy=shared", "--no-tty"]
    kept = [f"--folder={tmp_path / 'demo'}", f"--picture={picture}", "--json"]
    assert main(["demo", *arguments, *kept]) == 0
    said = json.loads(capsys.readouterr().out)
    articles = said["articles"]
    assert said["unanswered"] == articles["unanswered"] == 0
    assert said["decisions"] == said["requests"] > 0
    assert articles["decisions"] == articles["requests"] == 80
    assert 1 < articles["different"] <= 80
    assert said["stored"]["decisions"] == said["decisions"] + 80
    assert said["dead_letters"] == {}
    assert 0.0 < articles["click_rate_policy"] < articles["click_rate_best"]
    drawn = picture.read_text().replace("&#160;", " ")
    assert "articles from requests, last 20 s" in drawn
    assert "what actions earn of those who saw them" in drawn
