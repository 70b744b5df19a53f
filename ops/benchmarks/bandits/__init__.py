"""What the learning benchmark is made of: environments, rivals, runners, checks."""
