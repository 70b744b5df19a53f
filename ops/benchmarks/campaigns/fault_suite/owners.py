"""A second flow is started by mistake on a recovery store that is in use."""

from flows.registry import PERSIST, PERSONALIZE
from ops.benchmarks.campaigns.fault_suite.bars import Finding
from ops.benchmarks.campaigns.fault_suite.judge import judge
from ops.benchmarks.campaigns.fault_suite.lab import Lab


def start_two_flows(found: Finding, lab: Lab) -> None:
    """Start each flow a second time, alone and supervised, while visitors ask the first."""
    stage = lab.stage("two-flows")
    flow, persist = stage.run_both()
    refused = []
    with stage.visitors(lab.rate) as visitors:
        stage.answered(visitors, lab.portion)
        for name in (PERSONALIZE.name, PERSIST.name):
            for supervised in (False, True):
                second = stage.run(name, supervised=supervised, label=f"second-{name}")
                refused.append(second.ended() == 2 and "is in use by process" in second.log)
        stage.answered(visitors, lab.portion)
    found.exactly("second flows that refuse and name the first", 4, sum(refused))
    judge(found, stage, flow)
    persist.stop()
