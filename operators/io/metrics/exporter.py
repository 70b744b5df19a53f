"""Serves a registry to Prometheus."""

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    start_http_server,
)

from schemas.settings import SettingsError


def process_registry() -> CollectorRegistry:
    """Make a registry that says of its process what Prometheus' clients usually say."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


def serve(registry: CollectorRegistry, host: str, port: int) -> str:
    """Serve the metrics on ``host:port`` (port 0: a free one) and give the address."""
    try:
        server, _ = start_http_server(port, addr=host, registry=registry)
    except OSError as error:
        raise SettingsError(
            f"BANDITFLOW_METRICS_PORT: cannot serve on {host}:{port}: {error.strerror or error}; "
            "each flow on a machine needs a port of its own, and 0 picks a free one"
        ) from error
    return f"http://{host}:{server.server_port}/metrics"
