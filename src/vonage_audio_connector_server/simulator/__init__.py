"""A simulated media router: speaks a recording to an Audio Connector server and reports what a participant heard.

It needs no account, no browser and no tunnel. It imports the errors, the formats and core, and never the server's side.
Times are seconds on the event loop's clock; a *tick* is one frame, 20 or 10 ms, counted from the first frame sent.
"""

from __future__ import annotations

from .call import Progress, simulate
from .report import Hole, SimulationReport

__all__ = ["Hole", "Progress", "SimulationReport", "simulate"]
