"""The call that the two halves of a transport share: who still uses it, and when it is to be closed."""

from __future__ import annotations

from ...client import Client


class SharedCall:
    """One call, as long as one half of the transport needs it.

    Args:
        client: the call.

    Attributes:
        client: as given.
        is_closing: the pipeline has ended the call; what comes then is no hang-up of the caller.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self.is_closing = False
        self._users: set[object] = set()

    @property
    def is_over(self) -> bool:
        """Whether nothing can be said any more."""
        return self.is_closing or self.client.close_report is not None

    def join(self, user: object) -> None:
        """A half takes part in a pipeline: a bot may use one alone."""
        self._users.add(user)

    def leave(self, user: object) -> None:
        """A half is done. The last one closes: what is left to be heard by then is dropped."""
        self._users.discard(user)
        if not self._users:
            self.close()

    def close(self) -> None:
        """Close the call now; again, or after its end, it does nothing."""
        self.is_closing = True
        self.client.disconnect()
