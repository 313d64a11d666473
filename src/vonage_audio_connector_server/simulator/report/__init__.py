"""The report of a call, made from its recording: numbers, verdicts, one sentence, and a page of HTML.

All but the page and the comparison is plain Python; those need the extra `cli`.
"""

from __future__ import annotations

from .ending import Closer, Ending, Outcome, ending_of
from .hole import Hole
from .html import render_html, write_html
from .joined import joined
from .make import report_from, report_of
from .numbers import Number, numbers_of
from .report import SimulationReport, Text
from .sound import Sound
from .stereo import stereo_wav, write_stereo_wav
from .timeline import Timeline
from .turns import Answer, Interruption
from .verdict import Verdict

__all__ = [
    "Answer",
    "Closer",
    "Ending",
    "Hole",
    "Interruption",
    "Number",
    "Outcome",
    "SimulationReport",
    "Sound",
    "Text",
    "Timeline",
    "Verdict",
    "ending_of",
    "joined",
    "numbers_of",
    "render_html",
    "report_from",
    "report_of",
    "stereo_wav",
    "write_html",
    "write_stereo_wav",
]
