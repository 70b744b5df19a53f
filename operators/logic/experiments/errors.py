"""What experiments refuse."""


class ExperimentError(ValueError):
    """An experiment cannot do what is asked of it; the message says why."""
