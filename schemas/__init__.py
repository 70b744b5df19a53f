"""What flows: the records of every topic, their names, their codec and the settings."""
