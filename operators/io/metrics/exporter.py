"""Serves a registry to Prometheus."""

import errno
import socket

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
    except (OSError, UnicodeError) as error:
        raise SettingsError(_refusal(host, port, error)) from error
    return f"http://{host}:{server.server_port}/metrics"


def check_address(host: str, port: int) -> None:
    """Raise :class:`~schemas.settings.SettingsError` where metrics could not be served there."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
            listener.bind(address)
            listener.listen()
    except (OSError, UnicodeError) as error:
        raise SettingsError(_refusal(host, port, error)) from error


def _refusal(host: str, port: int, error: OSError | UnicodeError) -> str:
    why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    if getattr(error, "errno", None) in (errno.EADDRINUSE, errno.EACCES):
        return (
            f"BANDITFLOW_METRICS_PORT: cannot serve on {host}:{port}: {why}; each flow on a machine"
            " needs a port of its own, and 0 picks a free one"
        )
    return (
        f"BANDITFLOW_METRICS_HOST: cannot serve on {host}: {why}; it is a name or an address of "
        "this machine, such as 127.0.0.1, or 0.0.0.0 for every interface"
    )
