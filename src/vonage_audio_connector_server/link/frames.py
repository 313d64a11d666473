"""Messages as frames of RFC 6455, both ways, on one asyncio transport: the part of a connection that is its speed.

Frames of audio, as 50 a second come on every call, are dealt with here in few steps, and so is every whole message of
126 to 65,535 bytes. All else of what comes goes to websockets' `ServerProtocol`, one whole frame at a time, so that it
always stands between two frames, and the fast way may pass it by.

The transport's high-water mark is nothing, so `pause_writing` means "the transport holds bytes" and `resume_writing`
"it holds none". While it holds none, bytes go past it, straight to the socket, and are in order. What the socket
doesn't take of the message that has begun is given to the transport; all messages behind it stay in the outbox, where a
flush reaches them.
"""

from __future__ import annotations

import asyncio
import codecs
import logging
import os
import time
from collections.abc import Callable
from typing import Any, Final

import websockets.frames
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from ..close_codes import INVALID_DATA, NO_STATUS
from ..core.json_audio import JSONTransport
from ..formats import DOCUMENTED_FRAME_BYTES
from ..sparing import warn
from .base import Outbox, Receiver, turn_of
from .octets import AUDIO_HEADS, BINARY, CLOSE, MASKED_16, MASKED_AUDIO, TEXT, encode, frame_end

LARGE_BYTES: Final = 64 * 1024
"""Of a frame that is longer, each part is given to websockets as it comes: joining them anew each time would take the
square of its length."""


apply_mask = websockets.frames.apply_mask  # type: ignore[attr-defined]  # in C, where websockets comes as a wheel

_CLOSED: Final[dict[bytes, int]] = {}

_utf8_decoder = codecs.getincrementaldecoder("utf-8")

_SILENT = logging.Logger("websockets", logging.CRITICAL + 1)  # noqa: LOG001 (nobody finds it, nothing is changed)
"""For websockets, which would log headers and payloads at DEBUG, and each end at INFO."""


def make_protocol(max_message_bytes: int, **more: Any) -> ServerProtocol:
    """The part of RFC 6455 that we leave to `websockets`. Compression is never agreed on: PCM grows under it."""
    return ServerProtocol(max_size=max_message_bytes, logger=_SILENT, **more)


class FrameProtocol(asyncio.Protocol):
    """Reads and writes the frames of one connection; what else becomes of it is the affair of a subclass."""

    __slots__ = (
        "_audio_received",
        "_decoder",
        "_fd",
        "_fragments",
        "_has_part",
        "_is_broken",
        "_is_paused",
        "_lane",
        "_left_bytes",
        "_loop",
        "_max_message_bytes",
        "_owed_pong",
        "_part",
        "_receiver",
        "_transport",
        "_turn",
        "_websocket",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, max_message_bytes: int) -> None:
        self._loop = loop
        self._turn = turn_of(loop, time.monotonic())
        self._transport: Any = None
        self._max_message_bytes = max_message_bytes
        self._websocket = make_protocol(max_message_bytes)
        self._receiver: Receiver | None = None  # while the connection is open
        self._audio_received: Callable[[bytes], None]  # of it
        self._lane: dict[bytes, int] = _CLOSED  # what takes the short way
        self._has_part = False  # of a frame
        self._part = b""  # the beginning of a frame
        self._left_bytes = 0  # of a large frame, whose beginning websockets has
        self._fragments: list[Any] | None = None  # of a message that has begun: bytes, or texts
        self._decoder: codecs.IncrementalDecoder | None = None  # of a text that has begun
        self._fd = -1  # to be written to past the transport
        self._is_paused = self._is_broken = False
        self._owed_pong = b""

    # Reading

    def data_received(self, data: bytes) -> None:
        """The event loop's transport has read it, and so the loop has turned."""
        self._turn.began_s = time.monotonic()
        self.receive(data)

    def receive(self, data: bytes) -> None:
        """Take what came, however it is cut: messages that are whole are dealt with, part of one is kept."""
        if self._has_part:
            data = self._join(data)
        at, end = 0, len(data)
        while at < end:
            size_bytes = self._lane.get(data[at : at + 4])
            if size_bytes is not None and (stop := at + size_bytes) <= end:
                audio_received = self._audio_received
                audio_received(apply_mask(data[at + 8 : stop], data[at + 4 : at + 8]))
                at = stop
            else:
                at = self._receive_other(data, at, end)

    def _give_to(self, receiver: Receiver | None) -> None:
        """Messages go to it from now on; None: the connection is not open."""
        self._receiver = receiver
        if receiver is not None:
            self._audio_received = receiver.audio_received
        elif hasattr(self, "_audio_received"):
            del self._audio_received
        self._set_lane()

    def _set_lane(self) -> None:
        """Say what takes the short way: nothing may while a message is in fragments."""
        is_closed = self._receiver is None or self._fragments is not None
        self._lane = _CLOSED if is_closed or self._max_message_bytes < max(DOCUMENTED_FRAME_BYTES) else MASKED_AUDIO

    def _join(self, data: bytes) -> bytes:
        """Put what came behind the part of a frame that is there; returns what is still to be dealt with."""
        if self._left_bytes:
            part, data = data[: self._left_bytes], data[self._left_bytes :]
            self._left_bytes -= len(part)
            self._has_part = self._left_bytes > 0
            self._give(part)
            return data
        part, self._part, self._has_part = self._part, b"", False
        return part + data

    def _receive_other(self, data: bytes, at: int, end: int) -> int:
        """Deal with one frame, or keep the part of one; returns from where on to go on."""
        if self._receiver is None:
            self._receive_closed(data[at:])
            return end
        stop = frame_end(data, at, end)
        if (
            stop <= end
            and data[at] in (TEXT, BINARY)
            and data[at + 1] == MASKED_16
            and self._fragments is None
            and stop - at - 8 <= self._max_message_bytes
        ):
            payload = apply_mask(data[at + 8 : stop], data[at + 4 : at + 8])
            if data[at] == TEXT:
                self._text_received(payload)
            else:
                self._audio_received(payload)
            return stop
        if data[at] == CLOSE and self._fragments is not None:
            # It may come in the middle of a message (RFC 6455 §5.4), which websockets refuses: so that begins anew.
            self._fragments = self._decoder = None
            self._set_lane()
            self._websocket = make_protocol(self._max_message_bytes, state=OPEN)
        if stop <= end:
            self._give(data[at:stop])
            return stop
        self._has_part = True
        if stop - at <= LARGE_BYTES:
            self._part = data[at:]
        else:  # and one that is over the limit is refused as soon as its head is there
            self._left_bytes = stop - end
            self._give(data[at:])
        return end

    def _give(self, data: bytes) -> None:
        """Give websockets a frame, or a part of one, and deal with what comes of it."""
        if self._receiver is None:
            self._receive_closed(data)
            return
        self._websocket.receive_data(data)
        for event in self._websocket.events_received():
            assert isinstance(event, Frame)
            self._frame_received(event)
        if self._websocket.state is not OPEN and self._receiver is not None:
            self._violated()

    def _frame_received(self, frame: Frame) -> None:
        opcode, data = frame.opcode, bytes(frame.data)
        if opcode is Opcode.PING:
            pong = b"".join(self._websocket.data_to_send())
            if self._is_paused:
                self._owed_pong = pong  # the latest stands for all, or they would pile up
            else:
                self._write_control(pong)
        elif opcode is Opcode.PONG:
            self._ponged(data)
        elif opcode is Opcode.CLOSE:
            self._peer_closed(int.from_bytes(data[:2], "big") if data else NO_STATUS, data[2:].decode())
        else:
            if opcode is not Opcode.CONT:
                self._fragments = []
                self._decoder = _utf8_decoder() if opcode is Opcode.TEXT else None
                self._set_lane()
            self._fragment_received(data, is_last=frame.fin)

    def _fragment_received(self, data: bytes, *, is_last: bool) -> None:
        fragments, decoder = self._fragments, self._decoder
        assert fragments is not None
        try:
            fragments.append(data if decoder is None else decoder.decode(data, is_last))
        except UnicodeDecodeError:
            self._refuse_text()
            return
        if is_last:
            self._fragments = self._decoder = None
            self._set_lane()
            assert self._receiver is not None
            if decoder is None:
                self._receiver.audio_received(b"".join(fragments))
            else:
                self._receiver.text_received("".join(fragments))

    def _text_received(self, data: bytes) -> None:
        try:
            text = data.decode()
        except UnicodeDecodeError:
            self._refuse_text()
        else:
            assert self._receiver is not None
            self._receiver.text_received(text)

    def _refuse_text(self) -> None:
        warn("a text message was not UTF-8, closed with %d", INVALID_DATA)
        self._websocket.fail(INVALID_DATA, "invalid UTF-8")
        self._violated()

    # Writing

    def _open_writing(self) -> None:
        """Messages may be written from now on."""
        transport = self._transport
        own = transport.get_extra_info("socket")
        if transport.get_extra_info("sslcontext") is not None:
            transport.set_write_buffer_limits(high=1, low=0)  # asyncio's TLS says "no less than", and means it of 0
        else:
            transport.set_write_buffer_limits(high=0)
            if os.name == "posix" and own is not None:
                self._fd = own.fileno()
        if transport.get_write_buffer_size():
            self.pause_writing()

    def write(self, outbox: Outbox, json_audio: JSONTransport | None) -> bool:
        """See `Sink`."""
        if self._is_paused:
            return not outbox
        fd = self._fd
        if fd < 0:
            return self._write_each(outbox, json_audio)
        first = outbox[0]
        if len(outbox) == 1 and json_audio is None and len(first) in AUDIO_HEADS and type(first) is bytes:
            data = AUDIO_HEADS[len(first)] + first
        else:
            data = b"".join([encode(payload, json_audio) for payload in outbox])
        try:
            sent = os.write(fd, data)
        except BlockingIOError:
            sent = 0
        except OSError:  # what it means is told by what can still be read: perhaps a close that came before
            self._is_broken = True
            self.pause_writing()
            return False
        if sent == len(data):
            outbox.clear()
            return True
        while sent >= len(data := encode(outbox.pop(0), json_audio)):
            sent -= len(data)
        self._transport.write(data[sent:])
        return self._write_each(outbox, json_audio)

    def _write_each(self, outbox: Outbox, json_audio: JSONTransport | None) -> bool:
        """Write one message after the other through the transport, as long as that holds none."""
        while outbox and not self._is_paused:
            self._transport.write(encode(outbox.pop(0), json_audio))
        return not outbox

    def _write_control(self, data: bytes) -> None:
        """Write what websockets has made, behind all that was written."""
        if data and not self._is_broken and not self._transport.is_closing():
            self._transport.write(data)

    def unsent_bytes(self) -> int:
        """See `Sink`. Linux tells what its kernel holds unacknowledged (SIOCOUTQ), as does macOS."""
        held_bytes = int(self._transport.get_write_buffer_size())
        try:
            import fcntl
            import termios

            own = self._transport.get_extra_info("socket")
            return held_bytes + int.from_bytes(fcntl.ioctl(own.fileno(), termios.TIOCOUTQ, bytes(4)), "little")
        except (ImportError, AttributeError, OSError, ValueError):
            return held_bytes

    def pause_writing(self) -> None:
        """The transport holds bytes."""
        self._is_paused = True

    def resume_writing(self) -> None:
        """The transport holds none any more."""
        self._is_paused = self._is_broken
        if self._owed_pong:
            owed, self._owed_pong = self._owed_pong, b""
            self._write_control(owed)
        if self._receiver is not None and not self._is_paused:
            self._receiver.writable()

    # For a subclass

    def _receive_closed(self, data: bytes) -> None:
        """These bytes came before the connection was open, or after its end."""
        raise NotImplementedError

    def _ponged(self, payload: bytes) -> None:
        """A pong came."""
        raise NotImplementedError

    def _peer_closed(self, code: int, reason: str) -> None:
        """A close came; websockets has made the answer."""
        raise NotImplementedError

    def _violated(self) -> None:
        """What came breaks the protocol; websockets has made the close."""
        raise NotImplementedError
