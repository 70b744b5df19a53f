"""Replay of logged decisions and clicks through the same flow."""
