"""Stopwatches inside a running personalize process, for ``make bench NAME=stages``."""
