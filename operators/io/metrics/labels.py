"""Label values that stay few, and children of a metric that are looked up once."""

from typing import Generic, TypeVar

from prometheus_client.metrics import MetricWrapperBase

MOST_LABELS = 200
"""Slots, or actions of a slot, that get a label of their own."""

OTHER = "other"
"""The label that all slots, or all actions of a slot, beyond the bound share.

A slot or an action of that very name has ``other'`` (and ``other'`` has ``other''``, and so on).
"""

_Metric = TypeVar("_Metric", bound=MetricWrapperBase)


class Children(dict[tuple[str, ...], _Metric], Generic[_Metric]):
    """A metric's children by their label values.

    The client's own look-up costs several times what counting does.

    >>> from prometheus_client import Counter
    >>> rows = Children(Counter("rows", "Rows.", ["table"], registry=None))
    >>> rows["actions",].inc(2)
    """

    def __init__(self, metric: _Metric) -> None:
        super().__init__()
        self._metric = metric

    def __missing__(self, values: tuple[str, ...]) -> _Metric:
        """Make the child at its first use."""
        child = self[values] = self._metric.labels(*values)
        return child

    def remove(self, values: tuple[str, ...]) -> None:
        """Take a child out of the metric."""
        del self[values]
        self._metric.remove(*values)


def own_label(name: str) -> str:
    """Give the label of a slot or an action that has one of its own.

    >>> own_label("home"), own_label("other")
    ('home', "other'")
    """
    return f"{name}'" if name.rstrip("'") == OTHER else name


class Labels:
    """Bounds the number of label values: the first ``most`` names of a scope stay themselves.

    >>> labels = Labels(most=1)
    >>> labels.slot("home"), labels.slot("basket"), labels.action("home", "a")
    ('home', 'other', 'a')
    """

    def __init__(self, most: int = MOST_LABELS) -> None:
        self._most = most
        self._known: dict[str, set[str]] = {}

    def slot(self, slot_id: str) -> str:
        """Give the slot's label."""
        return self.bounded("", slot_id)

    def action(self, slot_id: str, action_id: str) -> str:
        """Give the action's label within its slot's label."""
        return self.bounded(self.slot(slot_id), action_id)

    def bounded(self, scope: str, name: str) -> str:
        """Give the label of one of a scope's names; no two names but those beyond share one."""
        name = own_label(name)
        known = self._known.setdefault(scope, set())
        if name in known:
            return name
        if len(known) >= self._most:
            return OTHER
        known.add(name)
        return name
