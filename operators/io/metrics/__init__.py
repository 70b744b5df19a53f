"""What the steps report to Prometheus: an object for each step, all on one registry."""
