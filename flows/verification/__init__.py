"""The parts of ``banditflow verify``: what a flow made, against a recomputation from its topics."""
