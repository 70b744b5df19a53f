"""What the speed benchmarks share: a closed loop in memory, recorded logs, running flows."""
