"""What the campaign ``fuzz`` is made of."""
