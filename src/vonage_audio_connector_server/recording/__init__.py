"""What happened in a call, message by message, and its form on disk.

A recording is made on either side: by a server (the flight recorder), or by the simulator, which plays the router.
Both are the same thing, so that one report and one replay serve both.
"""

from __future__ import annotations

from .flight import FlightRecorder
from .folder import read_folder, write_folder
from .recorder import MemoryRecorder, Recorder, Tape
from .recording import Entry, Kind, Message, Recording, note

__all__ = [
    "Entry",
    "FlightRecorder",
    "Kind",
    "MemoryRecorder",
    "Message",
    "Recorder",
    "Recording",
    "Tape",
    "note",
    "read_folder",
    "write_folder",
]
