"""Records the log anew: ``python -m tests.support.recording.record FOLDER`` (three minutes).

The release that runs it says what is expected of all later ones, so it is run on a release whose
behaviour is to be kept. It fails where the log does not lead to the same twice.
"""

import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from flows.devkit.embedded import Embedded
from flows.devkit.verify_replay.runs import prepare
from flows.verification.log import Logged
from tests.support.recording import archive
from tests.support.recording.archive import Recorded
from tests.support.recording.comparing import differences, lasting
from tests.support.recording.live import run_live
from tests.support.recording.observed import Sections, observed, state_of
from tests.support.recording.old_records import chosen
from tests.support.recording.runs import feed, run_to_the_end, settings_for


class Unsteady(RuntimeError):  # noqa: N818 - it reads as what is the case
    """Two runs over the log differ; the message says in what."""


def record(folder: Path) -> None:
    """Run the flows live and over what that leaves; write ``log.tar.xz``."""
    folder.mkdir(parents=True)
    recovery = folder / "recovery"
    with Embedded(folder / "parts") as parts:
        base = archive.settings(parts.bootstrap_servers, parts.redis_url)
        live_in = settings_for(base, folder / "live", "live.")
        live = run_live(live_in, parts.supervisor, recovery, _tell)

        def rerun(name: str, database: int, made: Iterable[Logged] = ()) -> Sections:
            url = f"{parts.redis_url.rpartition('/')[0]}/{database}"
            where = settings_for(base, folder / name, f"{name}.", redis_url=url, idle_after=3600.0)
            if made:
                shutil.copytree(recovery, where.state.recovery, dirs_exist_ok=True)
            prepare(where)
            feed(where, [*live.log, *made])
            run_to_the_end(where, parts.supervisor)
            return observed(where)

        expected = rerun("first", 1)
        _compare("a second run", expected, rerun("second", 2))
        resumed = rerun("resumed", 3, live.made)
        _compare("the killed run, resumed", lasting(expected), lasting(resumed))
        _compare("the live run", lasting(expected), lasting(observed(live_in)))
    found = Recorded(
        log=live.log,
        made=live.made,
        expected=expected,
        records=list(chosen(live.everything)),
        recovery=recovery,
        state=state_of(base.replaced(recovery=str(recovery))),
    )
    archive.pack(found, folder / archive.ARCHIVE.name)


def _compare(what: str, expected: Sections, found: Sections) -> None:
    said = differences(expected, found)
    if said:
        raise Unsteady("\n".join([f"{what} differs in {len(said)} places", *said[:40]]))
    _tell(f"{what}: the same {', '.join(f'{len(n)} {name}' for name, n in expected.items())}")


def _tell(what: str) -> None:
    sys.stderr.write(f"{what}\n")


if __name__ == "__main__":
    record(Path(sys.argv[1]))
