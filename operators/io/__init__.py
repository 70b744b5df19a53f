"""Adapters to the outside: Kafka, Redis, the durable store, metrics."""
