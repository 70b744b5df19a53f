"""The last line of ``banditflow verify`` says no more than what was compared."""

from pathlib import Path

import pytest

from flows.cli import verify as command
from flows.cli.main import main
from flows.runtime.recovery import owned_recovery
from flows.verification.findings import (
    ActionCheck,
    OutcomeCheck,
    PendingCheck,
    TableCheck,
    Verification,
    describe,
    verdict,
)
from schemas.settings import load

STORE = [TableCheck("decisions", 3, 0)]


@pytest.mark.parametrize(
    ("report", "said"),
    [
        (Verification(), "nothing was compared"),
        (Verification(store=STORE), "nothing was compared"),
        (Verification(requests=3, decisions=3, store=STORE), "holds"),
        (Verification(outcomes=OutcomeCheck(void=1), store=STORE), "holds"),
        (Verification(requests=3, decisions=3), "holds, for what was compared"),
        (Verification(decisions=3, store=STORE, skipped=["home"]), "holds, for what was compared"),
        (Verification(decisions=3, store=STORE, forgotten=9), "holds, for what was compared"),
        (Verification(decisions=3, store=STORE, excluded={"late": 1}), "holds, for what was"),
        (Verification(decisions=3, contradicted=1, store=STORE), "DIFFERS"),
        (Verification(unanswered=1), "DIFFERS"),
        (Verification(pending=PendingCheck(0, 1)), "DIFFERS"),
        (Verification(actions=[ActionCheck("home", "a", (1.0, 0.0), (2.0, 0.0))]), "DIFFERS"),
    ],
)
def test_the_verdict_is_of_what_was_compared(report: Verification, said: str) -> None:
    assert verdict(report).startswith(said)
    assert (said == "DIFFERS") is not report.holds
    assert (verdict(report) == "holds") is (said == "holds")


def test_a_running_flow_is_not_accused_of_what_it_made_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A click between the reads of two topics made ``verify`` say DIFFERS of a sound deployment."""
    monkeypatch.setenv("BANDITFLOW_SECRET", "sixteen letters!")
    monkeypatch.setenv("BANDITFLOW_RECOVERY", str(tmp_path))
    monkeypatch.setattr(
        command, "verify", lambda _: Verification(outcomes=OutcomeCheck(different=1))
    )
    assert main(["verify"]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "DIFFERS"
    with owned_recovery(load(), "personalize"):
        assert main(["verify"]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("DIFFERS, but while personalize went on")


def test_the_slots_of_outcomes_that_differ_or_are_missing_are_named() -> None:
    outcomes = OutcomeCheck()
    for slot_id in ("wall", "home", "wall"):
        outcomes.differ(slot_id)
    outcomes.miss("home")
    lines = describe(Verification(outcomes=outcomes))
    assert "outcomes: different by slot: 1 of home, 2 of wall" in lines
    assert "outcomes: missing by slot: 1 of home" in lines
    assert (outcomes.different, outcomes.missing) == (3, 1)
    assert not any("by slot" in line for line in describe(Verification()))


def test_the_requests_add_up() -> None:
    report = Verification(requests=10, decisions=5, refused=2, waiting=2, unanswered=1)
    first = describe(report)[0]
    for said in ("10 read", "5 decisions", "2 refused", "2 waiting for a policy", "1 unanswered"):
        assert said in first
