"""Vowpal Wabbit's settings that are tried."""

from ops.benchmarks.bandits.ranking.vowpal import Setting

SETTINGS: dict[str, Setting] = {
    "VW squarecb 100": Setting("--squarecb --gamma_scale 100 -l 0.1"),
    "VW squarecb 1000": Setting("--squarecb --gamma_scale 1000 -l 0.1"),
    "VW squarecb 1000 fast": Setting("--squarecb --gamma_scale 1000 -l 0.5"),
    "VW squarecb 300 fast": Setting("--squarecb --gamma_scale 300 -l 0.5"),
    "VW squarecb 10000 fast": Setting("--squarecb --gamma_scale 10000 -l 0.5"),
    "VW squarecb 1000 faster": Setting("--squarecb --gamma_scale 1000 -l 2"),
    "VW squarecb 1000 slow": Setting("--squarecb --gamma_scale 1000 -l 0.03"),
    "VW squarecb 1000 constant": Setting("--squarecb --gamma_scale 1000 -l 0.01 --power_t 0"),
    "VW squarecb 100 all": Setting("--squarecb --gamma_scale 100 -l 0.1", "all"),
    "VW squarecb 1000 cubic": Setting("--squarecb --gamma_scale 1000 -l 0.1", "cubic"),
    "VW squarecb 1000 ids": Setting("--squarecb --gamma_scale 1000 -l 0.1 -b 22", ids=True),
    "VW squarecb 100 losses": Setting("--squarecb --gamma_scale 100 -l 0.1", losses=True),
    "VW squarecb 100 losses fast": Setting("--squarecb --gamma_scale 100 -l 0.5", losses=True),
    "VW squarecb 1000 losses": Setting("--squarecb --gamma_scale 1000 -l 0.1", losses=True),
    "VW squarecb 1000 losses fast": Setting("--squarecb --gamma_scale 1000 -l 0.5", losses=True),
    "VW squarecb 1000 losses faster": Setting("--squarecb --gamma_scale 1000 -l 2", losses=True),
    "VW squarecb 10000 losses fast": Setting("--squarecb --gamma_scale 10000 -l 0.5", losses=True),
    "VW squarecb 1000 losses constant": Setting(
        "--squarecb --gamma_scale 1000 -l 0.02 --power_t 0", losses=True
    ),
    "VW squarecb 1000 losses fast all": Setting(
        "--squarecb --gamma_scale 1000 -l 0.5", "all", losses=True
    ),
    "VW squarecb 1000 losses fast cubic": Setting(
        "--squarecb --gamma_scale 1000 -l 0.5", "cubic", losses=True
    ),
    "VW squarecb 1000 losses fast ids": Setting(
        "--squarecb --gamma_scale 1000 -l 0.5 -b 22", ids=True, losses=True
    ),
    "VW bag 5": Setting("--bag 5 -l 0.1"),
    "VW bag 5 fast": Setting("--bag 5 -l 0.5"),
    "VW bag 5 cubic": Setting("--bag 5 -l 0.1", "cubic"),
    "VW bag 5 losses fast": Setting("--bag 5 -l 0.5", losses=True),
    "VW bag 5 losses fast all": Setting("--bag 5 -l 0.5", "all", losses=True),
    "VW bag 5 losses fast cubic": Setting("--bag 5 -l 0.5", "cubic", losses=True),
    "VW bag 5 losses fast ids": Setting("--bag 5 -l 0.5 -b 22", ids=True, losses=True),
    "VW bag 10 losses fast greedify": Setting("--bag 10 --greedify -l 0.5", losses=True),
    "VW cover 5": Setting("--cover 5 -l 0.1"),
    "VW cover 5 losses fast": Setting("--cover 5 -l 0.5", losses=True),
    "VW epsilon .05": Setting("--epsilon 0.05 -l 0.1"),
    "VW epsilon .05 doubly robust": Setting("--epsilon 0.05 --cb_type dr -l 0.1"),
    "VW epsilon .02 losses fast": Setting("--epsilon 0.02 -l 0.5", losses=True),
    "VW epsilon .02 losses fast cubic": Setting("--epsilon 0.02 -l 0.5", "cubic", losses=True),
    "VW regcb": Setting("--regcb --mellowness 0.001 -l 0.1", losses=True),
    "VW regcbopt .00001": Setting(
        "--regcbopt --mellowness 0.00001 -l 0.1 --cb_min_cost -1 --cb_max_cost 0"
    ),
    "VW regcbopt losses fast": Setting("--regcbopt --mellowness 0.001 -l 0.5", losses=True),
    "VW regcbopt losses fast cubic": Setting(
        "--regcbopt --mellowness 0.001 -l 0.5", "cubic", losses=True
    ),
    "VW rnd 1": Setting("--rnd 1 --rnd_alpha 0.1 --epsilon 0.01 -l 0.1"),
    "VW rnd 3 losses fast": Setting("--rnd 3 --epsilon 0.01 -l 0.5", losses=True),
    "VW softmax 50": Setting("--softmax --lambda 50 -l 0.1"),
    "VW softmax 20 losses fast": Setting("--softmax --lambda 20 -l 0.5", losses=True),
    "VW synthcover losses fast": Setting("--synthcover -l 0.5", losses=True),
    "VW first 1000": Setting("--first 1000 -l 0.1"),
}
"""Each exploration at some learning rates (0.5 is VW's own), costs, crossings; ``slow``, ``fast``
and ``faster`` are 0.03, 0.5 and 2, ``constant`` steps that do not fall (``--power_t 0``)."""
