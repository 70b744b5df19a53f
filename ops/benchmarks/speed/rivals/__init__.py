"""What one would write without Banditflow; each is a program of its own, run by its path."""
