"""Inference over logged propensities."""
