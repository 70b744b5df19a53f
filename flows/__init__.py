"""The dataflows, their registry and their wiring; the folders below run and inspect them."""
