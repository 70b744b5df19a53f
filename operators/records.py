"""Decisions as records: what was chosen, with which probabilities, by which policy."""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import cast

import orjson
from msgspec import Raw

from operators.batches import PolicyNews, moment
from operators.logic.features import FeatureMap, pack_rows
from operators.logic.propensity import NO_ACTION
from operators.logic.voting import Ballot, Votes
from operators.queue import Ready
from schemas.events import Decision, Placed, Ranked


def decision_records(
    ready: Ready,
    news: PolicyNews,
    mapping: FeatureMap,
    ballot: Ballot,
    votes: Votes,
    now: datetime,
) -> Iterator[Decision]:
    """Write the decision of each request of the group.

    A subject without consent is null in its decision. ``features`` are logged where the slot
    declares any, so that learning needs nothing but the log.
    """
    slot = ready.slot
    window = timedelta(seconds=slot.reward_window)
    features = pack_rows(ballot.x) if mapping.dim > 1 else [None] * len(ready.events)
    policy_time = moment(news.newest) if news.newest > 0 else None
    groups = ("policy", "holdout") if slot.holdout.share > 0.0 else (None, None)
    rows = zip(
        ready.events,
        ready.contents,
        features,
        _rankings(votes),
        votes.chosen.tolist(),
        votes.propensity.tolist(),
        votes.eta[range(len(votes.chosen)), votes.chosen].tolist(),
        votes.uniform.tolist(),
        votes.held_out.tolist(),
        _slates(votes),
        strict=True,
    )
    for event, content, packed, ranking, chosen, propensity, eta, uniform, held_out, slate in rows:
        body = event.body
        yield Decision(
            id=f"decision-{event.key:016x}",
            time=body.time,
            subject=event.subject if event.personal else None,
            decision_id=body.decision_id,
            key=f"{event.key:016x}",
            slot_id=slot.slot_id,
            action_id=votes.action_ids[chosen],
            ranking=cast(list[Ranked], ranking),
            propensity=propensity,
            policy=news.kind,
            policy_version=news.version,
            expires_at=body.time + window,
            baseline_action_id=slot.baseline_action_id,
            variation_id=groups[held_out],
            learning_mode=slot.learning_mode,
            deferred=body.deferred,
            features=packed,
            eta=eta,
            draw=uniform,
            policy_time=policy_time,
            decided_at=now,
            request_hash=f"{content:08x}",
            slate=slate,
        )


def _slates(votes: Votes) -> Iterable[list[Placed] | None]:
    """Give what each request is shown, up to where nothing was left to show."""
    if votes.slates is None or votes.position_eta is None:
        return [None] * len(votes.chosen)
    names = votes.action_ids
    return [
        [
            Placed(names[column], probability, eta)
            for column, probability, eta in zip(*row, strict=True)
            if column != NO_ACTION
        ]
        for row in zip(
            votes.slates.chosen.tolist(),
            votes.slates.conditional.tolist(),
            votes.position_eta.tolist(),
            strict=True,
        )
    ]


def _rankings(votes: Votes) -> Iterator[Raw]:
    """Write each request's eligible actions and probabilities as JSON, in the catalog's order.

    The actions are the same in every row, so their text is made once, and all numbers are
    formatted in one call.
    """
    names = [orjson.dumps(name).decode().replace("%", "%%") for name in votes.action_ids]
    places = [f'{{"action_id":{name},"probability":%s}}' for name in names]
    whole = f"[{','.join(places)}]"
    numbers = orjson.dumps(votes.logged, option=orjson.OPT_SERIALIZE_NUMPY).decode()
    for row, text in enumerate(numbers[2:-2].split("],[")):
        probabilities, template = text.split(","), whole
        if votes.mask is not None:
            columns = votes.mask[row].nonzero()[0].tolist()
            probabilities = [probabilities[column] for column in columns]
            template = f"[{','.join([places[column] for column in columns])}]"
        yield Raw((template % tuple(probabilities)).encode())
