"""Pure logic: no Bytewax, no I/O, no clock, no environment, no global randomness."""
