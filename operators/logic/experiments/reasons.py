"""Why a decision that an experiment is about gets a variation and enters no score."""

from typing import Final

PAUSED: Final = "paused"
ENDED: Final = "ended"
STOPPED: Final = "stopped"
DECIDED: Final = "decided"
"""The experiment does not run: the winner is shown, of what is decided, else the baseline."""

ROBOT: Final = "robot"
"""No person asks. It is left out before anything is assigned, so in the same way of every arm."""

GLOBAL_HOLDOUT: Final = "global_holdout"
"""The subject gets the baseline of every experiment."""

CONSENT: Final = "consent"
"""Nothing may be kept of the subject, which is the unit."""

LAYER: Final = "layer"
RAMP: Final = "ramp"
"""The unit is beyond the experiment's range of its layer, or beyond the share of its ramp."""

NOT_LOADED: Final = "not_loaded"
"""What the subject got before is not known yet."""

PULLED: Final = "pulled"
"""The variation that the unit was to get is not enabled."""

NOT_ELIGIBLE: Final = "not_eligible"
"""The request could not be served one of the variations: it counts for none of them."""

FORCED: Final = "forced"
"""Somebody asked for this variation, to look at it."""

LOGGED: Final = frozenset({"", GLOBAL_HOLDOUT, PULLED, NOT_LOADED, NOT_ELIGIBLE, FORCED})
"""The reasons with which a decision names the experiment; the empty one: it counts."""
