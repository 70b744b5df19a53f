"""Which learners run on which environments."""

from importlib.util import find_spec

from ops.benchmarks.bandits.tasks import Task

STATIONARY = "contextual-none-20"
HALF_LIFE = 40_000.0
SCREENED = 10_000
"""Events that every setting of Vowpal Wabbit sees; those of ``VW_WHOLE`` see all."""

VW_SETTINGS: dict[str, tuple[str, bool]] = {
    "VW squarecb 100": ("--squarecb --gamma_scale 100 -l 0.1", False),
    "VW squarecb 300": ("--squarecb --gamma_scale 300 -l 0.1", False),
    "VW squarecb 1000": ("--squarecb --gamma_scale 1000 -l 0.1", False),
    "VW bag 5": ("--bag 5 -l 0.1", False),
    "VW cover 5": ("--cover 5 -l 0.1", False),
    "VW epsilon .05": ("--epsilon 0.05 -l 0.1", False),
    "VW regcb": ("--regcb --mellowness 0.001 -l 0.1", False),
    "VW regcbopt": ("--regcbopt --mellowness 0.00001 -l 0.1", False),
    "VW softmax": ("--softmax --lambda 50 -l 0.1", False),
    "VW rnd 3": ("--rnd 3 --epsilon 0 -l 0.1", False),
    "VW first 3000": ("--first 3000 -l 0.1", False),
    "VW squarecb 100, items": ("--squarecb --gamma_scale 100 -l 0.1", True),
    "VW squarecb 300, items": ("--squarecb --gamma_scale 300 -l 0.1", True),
    "VW squarecb 1000, items": ("--squarecb --gamma_scale 1000 -l 0.1", True),
    "VW bag 5, items": ("--bag 5 -l 0.1", True),
    "VW bag 5 slow, items": ("--bag 5 -l 0.03", True),
    "VW epsilon .05, items": ("--epsilon 0.05 -l 0.1", True),
}
"""``cb_explore_adf``'s arguments, and whether it is given the item features."""

VW_WHOLE = ("VW squarecb 100",)
VW_THOROUGH = (*VW_WHOLE, "VW bag 5 slow, items", "VW squarecb 1000")
VW_QUICK = (*VW_WHOLE, "VW squarecb 100, items")
VW_SPEEDS = ("VW squarecb 100", "VW epsilon .05", "VW bag 5")
VW_LABELS = ("VW squarecb 100", "VW bag 5")
RIVALS = ("vowpalwabbit", "river", "mabwiser", "bayesianbandits")


def available() -> list[str]:
    """Name the other libraries that are installed."""
    return [name for name in RIVALS if find_spec(name)]


def plan(seeds: list[int], events: int, installed: list[str], size: str = "normal") -> list[Task]:
    """List the tasks in the order in which they are to run.

    ``size`` is ``quick``, ``normal`` or ``thorough``: the last one shows more of VW's settings all
    of the stationary streams and one the changing ones, and takes more distributions of delays.
    """
    tasks = [
        task
        for seed in seeds
        for task in (
            *_stationary(seed, events, size),
            *_changing(seed, events, size),
            *_plain(seed, events),
            *_delayed(seed, min(events, 100_000), size),
            *_labels(seed, size),
        )
    ]
    libraries = {"vowpalwabbit": "VW", "river": "River"}
    known = {"banditflow", *(libraries.get(name, name) for name in installed)}
    return sorted((task for task in tasks if task.library in known), key=_rank)


def speed_plan(seed: int, events: int, installed: list[str]) -> list[Task]:
    """List the learners whose speed is compared: decide and learn, 20 actions, 32 features."""
    tasks = [Task(STATIONARY, name, seed, events) for name in ("logistic", "logistic, sampled")]
    tasks.append(Task(STATIONARY, "diagonal", seed, events))
    if "vowpalwabbit" in installed:
        tasks += [_vw(STATIONARY, name, seed, events) for name in VW_SPEEDS]
        arguments = VW_SETTINGS[VW_SPEEDS[0]][0]
        options = {"arguments": arguments, "twice": True}
        tasks.append(Task(STATIONARY, f"{VW_SPEEDS[0]}, text twice", seed, events, options))
    if "mabwiser" in installed:
        tasks.append(Task(STATIONARY, "mabwiser LinTS", seed, events, {"alpha": 0.3}))
    others = {
        "bayesianbandits": ("bayesianbandits",),
        "river": ("River LinUCB",),
    }
    for library, names in others.items():
        if library in installed:
            tasks += [Task(STATIONARY, name, seed, events) for name in names]
    return tasks


def _rank(task: Task) -> tuple[int, bool]:
    """Put what the bars ask for first: VW's stationary streams, then ours, then the rest."""
    if task.library == "banditflow":
        return 1, False
    judged = task.library == "VW" and task.environment == STATIONARY
    return (0 if judged else 2), task.learner not in VW_WHOLE


def _vw(environment: str, name: str, seed: int, events: int, limit: int | None = None) -> Task:
    arguments, items = VW_SETTINGS[name]
    options = {"arguments": arguments, "items": items}
    return Task(environment, name, seed, events, options, limit)


def _stationary(seed: int, events: int, size: str) -> list[Task]:
    quick = size == "quick"
    whole = VW_THOROUGH if size == "thorough" else VW_WHOLE
    return [
        *(
            _vw(STATIONARY, name, seed, events, None if name in whole else SCREENED)
            for name in (VW_QUICK if quick else VW_SETTINGS)
        ),
        *(
            Task(STATIONARY, name, seed, events)
            for name in ("logistic", "diagonal", "greedy", "uniform")
        ),
        Task(STATIONARY, "mabwiser LinTS", seed, events, {"alpha": 0.3}),
        Task(STATIONARY, "mabwiser LinUCB", seed, events, {"alpha": 0.3}),
        Task(STATIONARY, "bayesianbandits", seed, events, limit=50_000),
        Task(STATIONARY, "River LinUCB", seed, events, limit=500 if quick else 10_000),
    ]


def _changing(seed: int, events: int, size: str) -> list[Task]:
    tasks = []
    for change in ("abrupt", "drift"):
        name = f"contextual-{change}-20"
        tasks.append(Task(name, "logistic", seed, events, {"half_life": HALF_LIFE}))
        if size == "thorough":
            tasks += [_vw(name, who, seed, events) for who in VW_WHOLE]
    return tasks


def _plain(seed: int, events: int) -> list[Task]:
    sharp = {"half_life": 20_000.0, "sharpen": 2.0}
    return [
        Task("plain-none-50", "beta", seed, events),
        Task("plain-none-50", "mabwiser Thompson", seed, events, limit=20_000),
        Task("plain-none-50", "River Thompson", seed, events, limit=50_000),
        *(
            Task(f"plain-{change}-20", "beta", seed, events, sharp)
            for change in ("abrupt", "drift")
        ),
    ]


def _delayed(seed: int, events: int, size: str) -> list[Task]:
    delays = ["delayed-5000"]
    if size == "thorough":
        delays += ["delayed-1000", "delayed-20000", "heavy-5000"]
    modes = ("immediate", "wait", "exposure")
    return [Task(name, f"logistic, {mode}", seed, events) for name in delays for mode in modes]


def _labels(seed: int, size: str) -> list[Task]:
    tasks = []
    for name in ("digits", "segments"):
        tasks += [Task(name, who, seed, 0, {"batch": 10}) for who in ("gaussian", "logistic")]
        if size != "quick":
            tasks += [_vw(name, who, seed, 0) for who in VW_LABELS]
            tasks.append(Task(name, "mabwiser LinUCB", seed, 0, {"alpha": 0.3}))
    return tasks
