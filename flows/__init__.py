"""The dataflows, their wiring and the command line."""
