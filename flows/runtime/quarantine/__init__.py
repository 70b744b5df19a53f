"""How a flow outlives a record that a step fails on: it finds the record and quarantines it."""
