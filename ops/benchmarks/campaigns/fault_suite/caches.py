"""Redis dies, comes back empty, and is emptied, while visitors ask."""

import time

import redis

from flows.devkit.demo_catalog import SLOT
from operators.cache import redis_policy_key
from ops.benchmarks.campaigns.fault_suite.bars import Finding
from ops.benchmarks.campaigns.fault_suite.judge import judge
from ops.benchmarks.campaigns.fault_suite.lab import Lab
from tests.support.stage import InVain, until

AWAY = 5.0
SHARE = 0.9
"""Of the usual number of decisions, while Redis is away."""


def lose_redis(found: Finding, lab: Lab) -> None:
    """Kill Valkey, start it again empty, then empty it; count what is decided meanwhile."""
    stage, valkey = lab.stage("redis"), lab.parts.valkey
    if valkey is None:
        raise InVain("the parts were started without Valkey")
    flow, persist = stage.run_both()
    with stage.visitors(lab.rate) as visitors, redis.Redis(port=valkey.port) as cache:
        stage.answered(visitors, lab.portion)
        valkey.kill()
        before = visitors.progress().decisions
        time.sleep(AWAY)
        meanwhile = visitors.progress().decisions - before
        valkey.restart()
        returned = until("copies after the restart", lambda: _full(cache))
        cache.flushall()
        emptied = until("copies after FLUSHALL", lambda: _full(cache))
        stage.answered(visitors, lab.portion)
    usual = lab.rate * AWAY
    found.that(
        f"decisions while it was away for {AWAY:.0f} s",
        f"> {SHARE:.0%} of {usual:,.0f}",
        f"{meanwhile:,}",
        meanwhile > SHARE * usual,
    )
    found.that(
        "copies back by themselves after restart, after FLUSHALL",
        "each < 30 s",
        f"{returned:.1f}, {emptied:.1f} s",
        max(returned, emptied) < 30.0,
    )
    judge(found, stage, flow)
    persist.stop()


def _full(cache: redis.Redis) -> bool:
    """Say whether policy, features and decisions are there."""
    keys = cache.scan_iter(count=1000)
    kinds = {key.split(b":")[1] for key in keys}
    return bool(cache.exists(redis_policy_key(SLOT))) and {b"features", b"decision"} <= kinds
