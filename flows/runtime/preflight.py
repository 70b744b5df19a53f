"""What a flow needs of its surroundings, looked at before it starts: a fault is one sentence.

Bytewax would meet most of it in the middle of its own start, and cover the sentence with a panic.
"""

import os
import threading
from concurrent.futures import Future

from flows.registry import Flow
from flows.runtime import endings
from flows.runtime.recovery import OWN_STORE, RecoveryError, check_stopped, recovery_folder, usable
from flows.runtime.snapshots import check_formats
from operators.io import redis
from operators.io.kafka import client as kafka_client
from operators.io.kafka.admin import check_sizes
from operators.io.metrics.exporter import check_address
from operators.io.store.open import check_schema, open_made
from operators.io.store.protocol import StoreUnavailable
from schemas.settings import Settings, SettingsError

STORE_PATIENCE = 2.0
"""Seconds for which the store's answer is waited for before the flow starts without it."""


def check_surroundings(settings: Settings, flow: Flow, processes: int = 1) -> None:
    """Raise an error with a sentence where the flow cannot run here.

    Looks at this machine first, then at the store, and at Kafka last, which is waited for. A store
    that does not answer stops no flow: that is said, and the flow will wait for it.
    """
    check_recovery(settings, flow)
    _check_metrics(settings, processes)
    if flow.caches:
        redis.client(settings.redis.url).close()
    kafka_client.producer(settings.kafka)
    # Who is asked in vain says so; the client's own words would repeat it.
    client = kafka_client.consumer(settings.kafka, error_cb=lambda _: None)
    try:
        if flow.stores:
            _check_store(settings)
        kafka_client.check_topics(settings.kafka, client, list(flow.topics))
        check_sizes(settings.kafka, flow.writes)
    finally:
        client.close()


def check_recovery(settings: Settings, flow: Flow) -> None:
    """Raise :class:`RecoveryError` where the flow's recovery store cannot be used by it."""
    if not settings.state.recovery:
        return
    check_stopped(settings, flow.name, OWN_STORE)
    folder = recovery_folder(settings, flow.name)
    with usable(folder):
        there = folder
        while not there.exists() and there != there.parent:
            there = there.parent
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise RecoveryError(
            f"the recovery store {folder} cannot be written: {there} is "
            f"{'not writable' if there.is_dir() else 'no folder'}: BANDITFLOW_RECOVERY must name a "
            "folder that can be made, read and written"
        )
    check_formats(settings, flow)


def _check_metrics(settings: Settings, processes: int) -> None:
    first = settings.metrics.port
    if first + processes - 1 > 65535:
        raise SettingsError(
            f"BANDITFLOW_METRICS_PORT: {processes} processes need the ports from {first} on, and "
            "65535 is the last one"
        )
    for port in range(first, first + processes) if first else [0]:
        check_address(settings.metrics.host, port)


def _check_store(settings: Settings) -> None:
    """Look at the store's schema; one that does not answer in time is only mentioned."""
    answer: Future[None] = Future()

    def look() -> None:
        try:
            store = open_made(settings.store)
            try:
                check_schema(store)
            finally:
                store.close()
            answer.set_result(None)
        except Exception as error:
            answer.set_exception(error)

    threading.Thread(target=look, name="store", daemon=True).start()
    try:
        answer.result(STORE_PATIENCE)
    except (StoreUnavailable, TimeoutError) as error:
        why = str(error) or f"BANDITFLOW_STORE: no answer within {STORE_PATIENCE:g} s"
        endings.say(f"{why}; the flow waits for the store")
