"""What the campaign ``soak`` is made of."""
