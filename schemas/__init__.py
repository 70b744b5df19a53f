"""The records of every topic, their names, their codec, and the settings."""
