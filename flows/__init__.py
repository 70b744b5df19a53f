"""The dataflows, their registry and their wiring; below, a room for each thing around them."""
