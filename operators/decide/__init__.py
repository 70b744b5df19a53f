"""Decisions: requests are admitted once, scored together and written as records."""
