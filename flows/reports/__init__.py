"""Reports for people: what is known of a slot, a visitor or a decision, and why."""
