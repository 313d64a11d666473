"""One rule, and whether a call kept it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verdict:
    """A verdict.

    Attributes:
        rule: what it is about, in a word or two.
        ok: whether the rule was kept; None: it doesn't apply, or it is no more than worth knowing.
        text: what was found, as a sentence without a full stop.
    """

    rule: str
    ok: bool | None
    text: str
