"""What a slot asks for that its actions cannot give, or that leaves its policy no choice."""

from collections.abc import Iterator, Sequence

from schemas.catalog import Action, Slot


def without_choice(slot: Slot, actions: Sequence[Action]) -> Iterator[tuple[str, str]]:
    """Name the fields that the slot's enabled actions make pointless, each with what comes of it.

    >>> from schemas.clock import moment
    >>> home = Slot(id="1", time=moment(0), slot_id="home", slate_size=3)
    >>> cats = Action(id="1", time=moment(0), action_id="cats", slots=["home"])
    >>> [field for field, _ in without_choice(home, [cats])]
    ['slate_size']
    """
    kind, given = slot.policy.kind, slot.policy.params
    if slot.holdout.share == 1.0:
        yield "holdout.share", "every decision is held out: the policy decides none"
    if kind == "greedy" and given.get("epsilon") == 1.0:
        yield "policy.params.epsilon", "every action has the same probability, as with 'uniform'"
    if slot.candidates == "request" or not actions:
        return
    count = len(actions)
    if slot.slate_size > count:
        yield "slate_size", f"{slot.slate_size}, but {count} enabled actions list the slot"
    if kind != "uniform" and count > 1 and slot.floor * count >= 1.0:
        why = f"{count} enabled actions have 1/{count} each: the policy decides nothing"
        yield "floor", why
    shares = given.get("shares") if kind == "split" else None
    if isinstance(shares, dict):
        without = [each.action_id for each in actions if not shares.get(each.action_id)]
        if without and len(without) < count:
            more = f" and {len(without) - 1} more have" if without[1:] else " has"
            yield "policy.params.shares", f"{without[0]!r}{more} none: the policy never shows it"
