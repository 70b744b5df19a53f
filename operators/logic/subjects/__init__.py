"""What is remembered of consenting subjects."""
