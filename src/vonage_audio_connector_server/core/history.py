"""The frames that went out last, as the program gave them, the oldest first: what a pause can take back."""

from __future__ import annotations

import math


class History(list[bytes]):
    """The last frames of one connection, a list because one is added for every frame of a live stream."""

    def trim(self, keep_bytes: float) -> None:
        """Forget the oldest; so many bytes stay, in whole frames."""
        forgotten = len(self) - math.ceil(keep_bytes / len(self[-1])) if self else 0
        if forgotten > 0:
            del self[:forgotten]

    def drop(self, frames: int) -> None:
        """Forget the newest, so many of them."""
        del self[max(0, len(self) - frames) :]
