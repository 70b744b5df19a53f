"""Which learners run on which environments."""

from importlib.util import find_spec

from ops.benchmarks.bandits.tasks import Task

STATIONARY = "contextual-none-20"
HALF_LIFE = 40_000.0
SCREENED = 10_000
"""Events that every setting of Vowpal Wabbit sees; those of ``VW_FULL`` see all."""

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

VW_FULL = ("VW squarecb 100", "VW bag 5 slow, items", "VW squarecb 1000")
VW_CHANGE = ("VW squarecb 100",)
VW_SPEEDS = ("VW squarecb 100", "VW epsilon .05", "VW bag 5")
VW_LABELS = ("VW squarecb 100", "VW bag 5")
RIVALS = ("vowpalwabbit", "river", "mabwiser", "bayesianbandits")


def available() -> list[str]:
    """Name the other libraries that are installed."""
    return [name for name in RIVALS if find_spec(name)]


def plan(seeds: list[int], events: int, installed: list[str], quick: bool = False) -> list[Task]:
    """List the tasks in the order in which they are to run."""
    tasks = [
        task
        for seed in seeds
        for task in (
            *_stationary(seed, events, quick),
            *_changing(seed, events),
            *_plain(seed, events),
            *_delayed(seed, min(events, 100_000), quick),
            *_labels(seed, quick),
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


def _rank(task: Task) -> tuple[int, int]:
    """Put what the bars ask for first: VW on the stationary streams, then ours, then the rest.

    Of VW's settings, one sees all, then each its start, then the other good ones see all.
    """
    if task.library == "banditflow":
        return 1, 0
    if task.library != "VW" or task.environment != STATIONARY:
        return 2, 0
    order = (VW_FULL[0], *(name for name in VW_SETTINGS if name not in VW_FULL), *VW_FULL[1:])
    return 0, order.index(task.learner)


def _vw(environment: str, name: str, seed: int, events: int, limit: int | None = None) -> Task:
    arguments, items = VW_SETTINGS[name]
    options = {"arguments": arguments, "items": items}
    return Task(environment, name, seed, events, options, limit)


def _stationary(seed: int, events: int, quick: bool) -> list[Task]:
    settings = VW_FULL if quick else VW_SETTINGS
    return [
        *(
            _vw(STATIONARY, name, seed, events, None if name in VW_FULL else SCREENED)
            for name in settings
        ),
        *(
            Task(STATIONARY, name, seed, events)
            for name in ("logistic", "diagonal", "greedy", "uniform")
        ),
        Task(STATIONARY, "mabwiser LinTS", seed, events, {"alpha": 0.3}),
        Task(STATIONARY, "mabwiser LinUCB", seed, events, {"alpha": 0.3}),
        Task(STATIONARY, "bayesianbandits", seed, events, limit=100_000),
        Task(STATIONARY, "River LinUCB", seed, events, limit=1_000 if quick else 10_000),
    ]


def _changing(seed: int, events: int) -> list[Task]:
    tasks = []
    for change in ("abrupt", "drift"):
        name = f"contextual-{change}-20"
        tasks.append(Task(name, "logistic", seed, events, {"half_life": HALF_LIFE}))
        tasks += [_vw(name, who, seed, events) for who in VW_CHANGE]
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


def _delayed(seed: int, events: int, quick: bool) -> list[Task]:
    delays = ["delayed-5000"]
    if not quick:
        delays += ["delayed-1000", "delayed-20000", "heavy-5000"]
    modes = ("immediate", "wait", "exposure")
    return [Task(name, f"logistic, {mode}", seed, events) for name in delays for mode in modes]


def _labels(seed: int, quick: bool) -> list[Task]:
    tasks = []
    for name in ("digits", "segments"):
        tasks += [Task(name, who, seed, 0, {"batch": 10}) for who in ("gaussian", "logistic")]
        if not quick:
            tasks += [_vw(name, who, seed, 0) for who in VW_LABELS]
            tasks.append(Task(name, "mabwiser LinUCB", seed, 0, {"alpha": 0.3}))
    return tasks
