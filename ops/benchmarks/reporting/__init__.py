"""What the benchmarks and campaigns print and keep beside their figures."""
