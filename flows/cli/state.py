"""``banditflow state``: what a stopped flow has learned and keeps; and lowering its time."""

import argparse
from datetime import datetime

from flows.cli.arguments import refuse_idle, time
from flows.registry import PERSONALIZE
from flows.runtime.clock import system_clock
from flows.runtime.lowering import lower_watermarks
from flows.runtime.recovery import check_stopped
from flows.runtime.snapshots import states_of
from flows.verification.state_dump import PARTS, digest, dump
from schemas.clock import LATEST, Clock, micros, moment
from schemas.settings import Settings, load


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    command.add_argument(
        "action",
        nargs="?",
        choices=("lower-watermark",),
        help="where a clock was ahead: lower the time that the flow has come to",
    )
    command.add_argument(
        "--to", type=time, metavar="TIME", help="for lower-watermark: to this time (now)"
    )
    command.add_argument("--digest", action="store_true", help="one SHA-256 per part instead")
    command.add_argument("--part", choices=tuple(PARTS), help="this part only")


def run(options: argparse.Namespace) -> None:
    """Print the lines of every part, or a digest of each; or lower the watermarks."""
    if options.action == "lower-watermark":
        refuse_idle(options, ["digest", "part"], "on lower-watermark, which prints no part")
    else:
        refuse_idle(options, ["to"], "without lower-watermark")
    settings = load()
    if options.action == "lower-watermark":
        _lower(settings, options.to, system_clock)
        return
    check_stopped(settings, PERSONALIZE.name)
    states = states_of(settings, PERSONALIZE)
    for part in [options.part] if options.part else PARTS:
        if options.digest:
            print(f"{digest(settings, states, part)}  {part}")
        else:
            for line in dump(settings, states, part):
                print(line)


def _lower(settings: Settings, wanted: datetime | None, clock: Clock) -> None:
    now = micros(clock())
    to = now if wanted is None else min(micros(wanted), now)
    lowered = lower_watermarks(settings, to, clock)
    for step, key, before in lowered:
        print(f"{step} {key}: {_shown(before)} lowered to {_shown(to)}")
    if not lowered:
        print(f"nothing in the recovery store lies after {_shown(to)}")


def _shown(time: int) -> str:
    at = moment(min(time, LATEST - 1))
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"
