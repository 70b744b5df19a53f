"""Simulated experiments, many runs at once, judged by the product's own sequences."""
