"""Requests that bring their candidates with features: environments, learners, what came out."""
