"""A simulated log on a real broker, played under kills and compared with a recomputation."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flows.devkit.embedded import Server, Supervisor
from flows.devkit.verify_replay.runs import Run, prepare, run_killed
from flows.verification.log import Logged
from schemas.settings import Settings, load
from tests.support.parts import prefix_for


def play(
    name: str,
    log: Sequence[Logged],
    broker: Server,
    valkey: Server,
    folder: Path,
    *,
    kills: int,
    seed: int,
    speed: float,
    **changes: Any,
) -> tuple[Settings, Run]:
    """Play a log of two partitions; ``changes`` are settings.

    ``kills``, ``seed`` and ``speed`` are those of
    :func:`~flows.devkit.verify_replay.runs.run_killed`.
    """
    given: dict[str, Any] = {
        "partitions": 2,
        "metrics_port": 0,
        "epoch": 1,
        "allowed_lateness": 300,
    }
    settings = load(
        {},
        secret="a secret of the tests",
        bootstrap_servers=broker.address,
        redis_url=f"redis://{valkey.address}/0",
        topic_prefix=prefix_for(name),
        recovery=str(folder / "recovery"),
        store=f"sqlite:{folder / 'store.db'}",
        **(given | changes),
    )
    prepare(settings)
    with Supervisor(folder / "logs") as supervisor:
        run = run_killed(
            settings,
            supervisor,
            log,
            kills=kills,
            seed=seed,
            speed=speed,
            verify_kills=False,
            on_progress=lambda done, what: None,
        )
    return settings, run
