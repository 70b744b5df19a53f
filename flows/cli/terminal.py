"""What commands show of their progress, where somebody looks."""

import sys

from rich.console import Console
from rich.progress import Progress


def progress_on_terminal() -> Progress:
    """Make a progress bar on standard error that shows nothing where that is no terminal."""
    return Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
