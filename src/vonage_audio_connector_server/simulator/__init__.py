"""A simulated media router: speaks a recording to an Audio Connector server and reports what a participant heard.

It needs no account, no browser and no tunnel. It shares the protocol with the server's side, and no more. Times are
seconds since the accept; a *tick* is one frame, 20 or 10 ms.
"""

from __future__ import annotations

from .conversation import Conversation, Patience, Progress
from .faults import Faults
from .report import Hole, SimulationReport
from .setup import Setup
from .simulate import simulate

__all__ = ["Conversation", "Faults", "Hole", "Patience", "Progress", "Setup", "SimulationReport", "simulate"]
