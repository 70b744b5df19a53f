"""The soak runs, is resumed, and judges what grows."""

from pathlib import Path

from ops.benchmarks.campaigns.soak import growth, soak


def test_every_request_is_answered_once_while_everything_changes(tmp_path: Path) -> None:
    done = soak(tmp_path, turns=40, visitors=8, actions=1, resumes=2, seed=3)
    assert done.asked == done.counts["decisions"] == 36 * 8
    assert done.counts["outcomes"] > 100
    assert done.published > 40 * 5
    assert not done.samples


def test_what_grows_is_told_from_what_has_levelled_off() -> None:
    hours = [float(hour) for hour in range(20)]
    assert growth(hours, [min(hour, 9.0) for hour in hours]) == (0.0, 9.0)
    rise, mean = growth(hours, hours)
    assert (round(rise), mean) == (62, 14.5)
