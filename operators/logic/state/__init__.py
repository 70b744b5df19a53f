"""State that an epoch writes only as far as it changed."""
