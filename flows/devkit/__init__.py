"""The development kit, which production code does not import: embedded parts, demo, simulation."""
