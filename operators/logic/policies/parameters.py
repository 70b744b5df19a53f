"""The ranges of policies' parameters: whatever lies in them leaves every number finite."""

from typing import Annotated

from msgspec import Meta

HalfLife = Annotated[float, Meta(ge=1e-3, le=1e10)]
"""Seconds of decision time; a shorter one forgets a decision before the next is made."""

Alpha = Annotated[float, Meta(gt=0.0, le=1e3)]
"""A factor on posterior widths."""

Sharpen = Annotated[float, Meta(ge=1e-3, le=1e3)]
"""A factor on the counts of a Beta distribution."""

Mean = Annotated[float, Meta(ge=-1e6, le=1e6)]
Variance = Annotated[float, Meta(ge=1e-9, le=1e9)]
Weight = Annotated[float, Meta(ge=1e-6, le=1e9)]
"""A pseudo-count, a penalty, a step: what is added to sums of data or divides them."""

Noise = Annotated[float, Meta(ge=1e-6, le=1e6)]
Iterations = Annotated[int, Meta(ge=0, le=20)]
Share = Annotated[float, Meta(ge=0.0, le=1.0)]

Optimism = Annotated[float, Meta(ge=0.0, le=10.0)]
"""Standard deviations above the common mean at which what is new is expected."""
