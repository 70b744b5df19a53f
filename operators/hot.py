"""Hot copies for readers outside the dataflow: latest decisions, features and policies in Redis."""
