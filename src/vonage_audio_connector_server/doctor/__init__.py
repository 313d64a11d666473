"""Examines a running server from outside, as the media router would reach it, and says what to do.

It is the simulator's caller with other eyes: the same handshake and the same frames, but what is told is the way
between the two. Nothing secret is shown: no value of a query or of a header.
"""

from __future__ import annotations

from .diagnosis import NAMES, Diagnosis, Line, Status
from .examine import examine

__all__ = ["NAMES", "Diagnosis", "Line", "Status", "examine"]
