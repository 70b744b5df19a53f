"""Runs of the flows over topics that lie there as a whole."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from flows.devkit.embedded import Supervisor
from flows.devkit.verify_replay.runs import Feed, FlowProcesses
from flows.registry import FLOWS, PERSIST, PERSONALIZE
from flows.runtime.recovery import RecoveryError, recovery_folder
from flows.runtime.snapshots import offsets_of, progress, states_of
from flows.verification.log import Logged
from operators.io.kafka.client import consumer, range_of
from schemas.settings import Settings
from schemas.topics import Topic

BOTH = (PERSONALIZE.name, PERSIST.name)


def settings_for(settings: Settings, folder: Path, name: str, **changes: Any) -> Settings:
    """Give a run topics, a recovery folder and a store of its own."""
    recovery = folder / "recovery"
    recovery.mkdir(parents=True, mode=0o700, exist_ok=True)
    return settings.replaced(
        topic_prefix=name,
        recovery=str(recovery),
        store=f"sqlite:{folder / 'store.db'}",
        **changes,
    )


def feed(settings: Settings, log: Iterable[Logged]) -> None:
    """Write records to their topics."""
    topics = Feed(settings)
    for each in log:
        topics.send(each)
    topics.flush()


def run_to_the_end(
    settings: Settings,
    supervisor: Supervisor,
    flows: Sequence[str] = BOTH,
    are_copied: Callable[[], bool] = lambda: True,
) -> None:
    """Run flows until they have taken in all that is on their topics, then kill them.

    Copies in Redis come a little later: ``are_copied`` says whether they are there.
    """
    running = FlowProcesses(settings, supervisor)
    try:
        for flow in flows:
            running.start(flow)
        for flow in flows:
            running.await_epoch(flow)
        await_the_end(running, flows)
        running.until(are_copied, "the copies in Redis are not what is expected")
    finally:
        running.stop()


def await_the_end(running: FlowProcesses, flows: Sequence[str] = BOTH) -> None:
    """Wait until running flows have taken in all that is on their topics."""
    settings = running.settings
    for flow in flows:  # the second reads what the first writes
        _await_all_read(running, flow)
        if flow == PERSONALIZE.name:  # what its steps hold back is let go in the next epoch
            folder = recovery_folder(settings, flow)
            closed = progress(folder)[1] + 1
            running.until(lambda: progress(folder)[1] >= closed, f"{flow} closed no more epochs")  # noqa: B023
            _await_all_read(running, flow)


def _await_all_read(running: FlowProcesses, flow: str) -> None:
    running.until(lambda: not behind(running.settings, flow), f"{flow} did not read to the end")


def behind(settings: Settings, flow: str) -> int:
    """Count the records between what a flow would resume from and the ends of its topics."""
    read: dict[tuple[Topic, int], int] = {}
    with suppress(RecoveryError):
        read = offsets_of(FLOWS[flow], states_of(settings, FLOWS[flow]))
    there = ends(settings, FLOWS[flow].resumes)
    return sum(end - read.get(place, 0) for place, end in there.items())


def ends(settings: Settings, topics: Iterable[Topic]) -> dict[tuple[Topic, int], int]:
    """Ask the broker for the end of each partition of some topics."""
    client = consumer(settings.kafka)
    try:
        return {
            (topic, shard): range_of(settings.kafka, client, settings.kafka.topic(topic), shard)[1]
            for topic in topics
            for shard in range(settings.kafka.partitions_of(topic))
        }
    finally:
        client.close()
