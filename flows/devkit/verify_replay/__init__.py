"""A log through the flows under kill -9, and once without."""
