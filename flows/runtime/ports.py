"""Ports of loopback."""

import socket

HOST = "127.0.0.1"


def free_port() -> int:
    """Find a port of loopback that nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def port_taken(port: int) -> bool:
    """Say whether something listens on this port of loopback."""
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0
