"""Plain values that users hold: the audio format, what is known of a connection, its counters.

Nothing here does I/O or reads a clock. Time is seconds as float, sizes are bytes; the name says which.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.datastructures import Headers

SAMPLE_BYTES = 2
"""16-bit signed little-endian PCM, mono (documented for the Audio Connector)."""

FRAME_MS = 20
"""One binary message is one frame of 20 ms (documented for the Audio Connector)."""

_RATE = re.compile(r";\s*rate\s*=\s*\"?(\d{4,6})\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """The PCM format of one connection: 16-bit little-endian mono at `rate_hz`, in frames of `frame_ms`.

    Attributes:
        rate_hz: samples a second. The Audio Connector documents 8,000, 16,000 and 24,000.
        frame_ms: milliseconds of audio in one message.
    """

    rate_hz: int = 16_000
    frame_ms: int = FRAME_MS

    @property
    def frame_samples(self) -> int:
        """Samples in one frame: 320 at 16 kHz."""
        return self.rate_hz * self.frame_ms // 1000

    @property
    def frame_bytes(self) -> int:
        """Bytes in one frame: 320 at 8 kHz, 640 at 16 kHz, 960 at 24 kHz."""
        return self.frame_samples * SAMPLE_BYTES

    @property
    def frame_s(self) -> float:
        """Seconds of audio in one frame."""
        return self.frame_ms / 1000

    @property
    def content_type(self) -> str:
        """The form in which the first message of a connection states it: `audio/l16;rate=16000`."""
        return f"audio/l16;rate={self.rate_hz}"

    @classmethod
    def from_content_type(cls, content_type: str) -> AudioFormat | None:
        """Read `audio/l16;rate=16000`. None where it states no rate that cuts into whole 20 ms frames."""
        found = _RATE.search(content_type)
        return cls.from_rate(int(found[1])) if found else None

    @classmethod
    def from_rate(cls, rate_hz: int) -> AudioFormat | None:
        """The format at this rate; None below 8 kHz, above 48 kHz, or where 10 ms is not whole samples."""
        return cls(rate_hz) if 8_000 <= rate_hz <= 48_000 and rate_hz % 100 == 0 else None

    @classmethod
    def from_frame_bytes(cls, frame_bytes: int) -> AudioFormat | None:
        """Tell the format from the size of a 20 ms frame: 320, 640 or 960 bytes; None for any other."""
        return cls(frame_bytes * 25) if frame_bytes in (320, 640, 960) else None


@dataclass(frozen=True, slots=True)
class AudioConnectorConnectionData:
    """What is known of one connection. A snapshot: ask `client.info()` again for what came since.

    Attributes:
        id: unique for every connection that this process accepts.
        session_id: `x-opentok-ws-sessionid` of the upgrade request, if it was there.
        connection_id: `x-opentok-ws-connectionid` of the upgrade request, if it was there.
        conference_id: `x-opentok-ws-conferenceid` of the upgrade request, if it was there.
        uri: path and query of the upgrade request, as they were sent. Left out of `repr`: a query may hold a token.
        headers: all headers of the upgrade request; case-insensitive, `headers.getlist(name)` has every
            value of a repeated one. Left out of `repr`, because headers carry secrets.
        custom: the custom keys of the first message; empty until it came. Left out of `repr`, too.
        audio_format: the negotiated format; None until it is known.
    """

    id: str
    uri: str = field(repr=False)
    headers: Headers = field(repr=False)
    session_id: str | None = None
    connection_id: str | None = None
    conference_id: str | None = None
    custom: Mapping[str, Any] = field(default_factory=dict, repr=False)
    audio_format: AudioFormat | None = None

    @property
    def sessionId(self) -> str | None:  # noqa: N802 (the reference SDK's name)
        """The reference SDK's name for `session_id`."""
        return self.session_id

    @property
    def connectionId(self) -> str | None:  # noqa: N802 (the reference SDK's name)
        """The reference SDK's name for `connection_id`."""
        return self.connection_id

    @property
    def conferenceId(self) -> str | None:  # noqa: N802 (the reference SDK's name)
        """The reference SDK's name for `conference_id`."""
        return self.conference_id

    @property
    def customHeaders(self) -> dict[str, str]:  # noqa: N802 (the reference SDK's name)
        """All headers as a plain dict, names in lower case; a repeated one's values joined by `, `."""
        return {name: ", ".join(self.headers.getlist(name)) for name in self.headers}


@dataclass(frozen=True, slots=True)
class ConnectionStats:
    """Counters of one connection, since it was accepted.

    Attributes:
        duration_s: seconds since the accept, up to now or to the end.
        frames_in, bytes_in: binary messages received, and their bytes.
        texts_in, texts_out: text messages received and sent, clear commands included.
        frames_out, bytes_out: audio frames sent, and their bytes.
        odd_frames_in: binary messages that were not one frame of the negotiated format.
        dropped_in: messages that were dropped because nobody took them in time.
        queued_s: seconds of audio that wait to be sent.
        ahead_s: seconds of audio that the listener has got and not yet heard.
        underruns: how often the listener ran dry while more audio was queued or came within a second.
        flushes: calls of `flush_buffer`.
        dropped_out_s: seconds of audio that flushes dropped before they were sent.
    """

    duration_s: float
    frames_in: int
    bytes_in: int
    texts_in: int
    frames_out: int
    bytes_out: int
    texts_out: int
    odd_frames_in: int
    dropped_in: int
    queued_s: float
    ahead_s: float
    underruns: int
    flushes: int
    dropped_out_s: float
