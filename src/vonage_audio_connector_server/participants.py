"""Who takes part in a session: one stream, from its connection to its end."""

from __future__ import annotations

from dataclasses import dataclass

from .client import Client

_NAMES = ("speaker", "name")


@dataclass(eq=False, slots=True)
class Participant:
    """One stream of a session, from its connection to its end. Who comes back is another one, of the same name.

    Attributes:
        client: its connection.
        joined_s: when it came, in seconds since the session began.
        left_s: when it left; None: it is there.
    """

    client: Client
    joined_s: float
    left_s: float | None = None

    @property
    def name(self) -> str:
        """Who it is: the custom key `speaker` or `name` of the connect call, or such a header; else its connection id.

        The keys come with the first message: before, it may have another one.
        """
        info = self.client.info()
        for source in (info.custom, info.headers):
            for key in _NAMES:
                value = source.get(key)
                if isinstance(value, str) and value:
                    return value
        return info.connection_id or info.id

    def __repr__(self) -> str:
        return f"<Participant {self.name}>"
