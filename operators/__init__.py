"""Stream operators, the pure logic that they carry, and the adapters to the outside."""
