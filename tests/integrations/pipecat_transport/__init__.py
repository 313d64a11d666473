"""pipecat on this library's transport. What pipecat warns of when it is imported is its own affair."""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    # It imports audioop, which is gone in CPython 3.13, and builds on its own deprecated classes.
    warnings.simplefilter("ignore", DeprecationWarning)
    from . import bot  # noqa: F401
