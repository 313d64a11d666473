"""What is recorded of a call, on both event loops: what came, what really went out, the log, and the end."""

from __future__ import annotations

import gc
import logging
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from conftest import FIRST_MESSAGE
from telling import notes, payloads
from test_connection_tasks import FRAMES, Gate

from vonage_audio_connector_server import (
    AudioConnector,
    AudioConnectorConfigError,
    AudioConnectorServerConfig,
    Client,
    FlightRecorder,
)
from vonage_audio_connector_server.call.call import Call
from vonage_audio_connector_server.call.recorded import RecordedCall
from vonage_audio_connector_server.recording import Kind, MemoryRecorder, Recording, note
from vonage_audio_connector_server.recording.log_lines import MOST_CHARACTERS, LogLines, shortened
from vonage_audio_connector_server.recording.recorder import MemoryTape

pytestmark = pytest.mark.anyio

logger = logging.getLogger("vonage_audio_connector_server")


@pytest.fixture
def recorder() -> MemoryRecorder:
    return MemoryRecorder()


def the_one(recorder: MemoryRecorder) -> tuple[Recording, bool | None]:
    (tape,) = recorder.tapes.values()
    return tape.recording, tape.is_bad


async def test_without_a_recorder_a_call_is_a_plain_one() -> None:
    gate, calls = Gate(), []

    async def on_connect(client: Client) -> None:
        calls.append(client._call)

    gate.hang_up()
    await gate.serve(AudioConnector(on_connect))
    assert [type(one) for one in calls] == [Call]
    assert not [one for one in logger.filters if isinstance(one, LogLines)]


async def test_what_went_out_is_recorded_and_what_was_flushed_before_is_not(recorder: MemoryRecorder) -> None:
    """While the gate is shut, frames wait where a flush takes back all but what the server has begun to send."""
    gate = Gate()

    async def on_connect(client: Client) -> None:
        client.set_buffer_timing(15)
        await client.wait_format()
        for round_of_frames in (FRAMES[:20], FRAMES[20:40], FRAMES[40:60]):
            await client.send_audio_buffer(b"".join(round_of_frames[:5]))
            gate.open = anyio.Event()
            client.send_audio_buffer(b"".join(round_of_frames[5:]))
            client.send_json_packet({"round": round_of_frames[0][0]})
            for _ in range(5):
                await checkpoint()
            client.flush_buffer()
            gate.open.set()
            await client.send_json_packet({"flushed": True})
        gate.hang_up()

    gate.say(FIRST_MESSAGE)
    await gate.serve(AudioConnector(on_connect, recorder=recorder))
    recording, is_bad = the_one(recorder)
    assert not is_bad
    kinds = {Kind.AUDIO_FROM_SERVER, Kind.TEXT_FROM_SERVER}
    out = [entry for entry in recording.entries if entry.kind in kinds]
    recorded = [one.payload if one.kind is Kind.AUDIO_FROM_SERVER else one.text for one in out]
    assert recorded == gate.sent
    assert 0 < sum(isinstance(one, bytes) for one in recorded) < 60


async def test_what_came_is_recorded_before_the_handler_has_it(recorder: MemoryRecorder) -> None:
    gate = Gate()
    seen: list[tuple[bytes | str, bool]] = []

    async def on_connect(client: Client) -> None:
        def on_message(message: bytes | str) -> None:
            recording, _ = the_one(recorder)
            payload = message if isinstance(message, bytes) else message.encode()
            seen.append((message, payload in [entry.payload for entry in recording.entries]))

        client.set_handler(on_message=on_message)

    gate.say(FIRST_MESSAGE)
    for frame in FRAMES[:3]:
        gate.say(frame)
    gate.say('{"x":1}')
    gate.hang_up()
    await gate.serve(AudioConnector(on_connect, recorder=recorder))
    assert seen == [(message, True) for message in (FIRST_MESSAGE, *FRAMES[:3], '{"x":1}')]


async def test_the_meta_is_known_at_the_accept_and_the_rate_when_the_session_tells_it(recorder: MemoryRecorder) -> None:
    gate, before = Gate(), []

    async def on_connect(client: Client) -> None:
        (tape,) = recorder.tapes.values()
        before.append(dict(tape.recording.meta))
        await client.wait_format()
        assert tape.recording.meta["connection_id"] == client.info().id
        gate.hang_up()

    async def knock() -> None:
        for _ in range(5):
            await checkpoint()
        gate.say(FIRST_MESSAGE)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(knock)
        await gate.serve(AudioConnector(on_connect, recorder=recorder, rate_hz=24_000))
    recording, _ = the_one(recorder)
    assert "rate_hz" not in before[0]
    assert recording.meta["rate_hz"] == 16_000
    assert recording.meta["began"].endswith("+00:00")
    assert isinstance(recording.meta["origin_s"], float)
    assert recording.meta["place"] == "/ from an unknown address"


@pytest.mark.parametrize(
    ("close", "is_bad"),
    [
        ({"code": 1000}, False),
        ({"code": 1001}, False),
        ({"code": 1005}, False),
        ({"code": 1006}, True),
        ({"code": 1011}, True),
        ({"code": 4000}, True),
    ],
)
async def test_which_closes_of_the_session_are_bad(
    recorder: MemoryRecorder, close: dict[str, int], is_bad: bool
) -> None:
    gate = Gate()
    gate.say({"type": "websocket.disconnect", **close})
    await gate.serve(AudioConnector(recorder=recorder))
    recording, found = the_one(recorder)
    assert found is is_bad
    assert [data["code"] for _, data in recording.notes("closed")] == [close["code"]]


async def test_a_server_that_drains_ends_calls_well(recorder: MemoryRecorder) -> None:
    gate = Gate()
    app: AudioConnector

    async def on_connect(client: Client) -> None:
        client.start_soon(app.drain)

    app = AudioConnector(on_connect, recorder=recorder)
    await gate.serve(app)
    recording, is_bad = the_one(recorder)
    assert not is_bad
    assert [(data["code"], data["by"]) for _, data in recording.notes("closed")] == [(1012, "server")]


async def test_a_close_of_the_program_with_a_code_of_its_own_is_bad(recorder: MemoryRecorder) -> None:
    gate = Gate()

    async def on_connect(client: Client) -> None:
        await client.disconnect(4001, "no model")

    await gate.serve(AudioConnector(on_connect, recorder=recorder))
    recording, is_bad = the_one(recorder)
    assert is_bad
    assert notes(recording, "closed") == [{"note": "closed", "code": 4001, "reason": "no model", "by": "program"}]


async def test_log_lines_about_this_call_and_about_none_are_in_it_and_others_are_not(
    recorder: MemoryRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate()

    async def on_connect(client: Client) -> None:
        logger.warning("connection %s: %s is late", client.info().id, "this one")
        logger.warning("connection %s: %s is late", "c0ffee", "another one")
        logger.warning("the event loop is blocked")
        logger.debug("nobody wants this")
        thread = threading.Thread(target=logger.warning, args=("said by a thread",))
        thread.start()
        thread.join()
        gate.hang_up()

    caplog.set_level(logging.INFO, logger.name)
    before = (logger.handlers[:], logger.propagate, logger.level)
    await gate.serve(AudioConnector(on_connect, recorder=recorder))
    assert (logger.handlers, logger.propagate, logger.level) == before
    assert not [one for one in logger.filters if isinstance(one, LogLines)]
    recording, _ = the_one(recorder)
    lines = [(data["level"], data["text"]) for _, data in recording.notes("log")]
    call_id = recording.meta["connection_id"]
    assert lines[:3] == [
        ("WARNING", f"connection {call_id}: this one is late"),
        ("WARNING", "the event loop is blocked"),
        ("WARNING", "said by a thread"),
    ]
    assert [text for _, text in lines[3:]] == [text for text in caplog.messages if "closed by the session" in text]


def test_a_program_without_logging_still_sees_warnings_on_its_screen() -> None:
    """Python prints them by itself as long as no handler is there."""
    code = (
        "import logging\n"
        "from vonage_audio_connector_server.recording.log_lines import LOG_LINES, logger\n"
        "LOG_LINES.add('x', lambda *line: print(line))\n"
        "logger.warning('connection %s: %s', 'x', 'seen')\n"
        "LOG_LINES.remove('x')\n"
        "assert not logger.filters\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "(30, 'connection x: seen', True)\n"
    assert done.stderr == "connection x: seen\n"


@pytest.mark.parametrize("character", ["x", "ü"])
def test_a_long_text_is_shortened_to_its_first_line_and_its_end(character: str) -> None:
    assert shortened("short") == "short"
    text = shortened("first\n" + character * 50_000 + "\nLookupError: the end")
    assert text.startswith("first\n…\n")
    assert text.endswith("\nLookupError: the end")
    assert len(text) <= MOST_CHARACTERS + 3
    assert len(note(0.0, "log", text=text).payload) < 32 * 1024 - 100


@pytest.mark.parametrize("how", ["well", "an error in it"])
async def test_ended_calls_are_let_go_without_the_collector(recorder: MemoryRecorder, how: str) -> None:
    alive: list[weakref.ref[Call]] = []

    async def call() -> None:
        gate = Gate()

        async def on_connect(client: Client) -> None:
            assert type(client._call) is RecordedCall
            alive.append(weakref.ref(client._call))
            client.set_handler(on_error=lambda error: None)
            await client.send_audio_buffer(FRAMES[0] * 500)
            gate.hang_up()
            if how != "well":
                raise LookupError("on purpose")

        gate.say(FIRST_MESSAGE)
        await gate.serve(AudioConnector(on_connect, recorder=recorder))

    gc.disable()
    try:
        for _ in range(3):
            await call()
        await checkpoint()
        assert [one() for one in alive] == [None] * 3
    finally:
        gc.enable()


async def test_many_errors_are_all_noted_and_the_first_with_their_tracebacks(recorder: MemoryRecorder) -> None:
    gate = Gate()

    async def on_connect(client: Client) -> None:
        client.set_handler(on_audio=lambda frame: 1 / 0, on_error=lambda error: None)

    gate.say(FIRST_MESSAGE)
    for frame in FRAMES[:15]:
        gate.say(frame)
    gate.hang_up()
    await gate.serve(AudioConnector(on_connect, recorder=recorder))
    recording, is_bad = the_one(recorder)
    assert is_bad
    texts = [data["text"] for _, data in recording.notes("error")]
    assert len(texts) == 15
    assert [text.startswith("Traceback") for text in texts] == [True] * 10 + [False] * 5
    assert {text.splitlines()[-1] for text in texts} == {"ZeroDivisionError: division by zero"}


class Fussy:
    """A recorder of the program's own."""

    def __init__(self, begin: str = "", end: str = "", add: str = "", tape: Any = None) -> None:
        self.begin_error, self.end_error, self.add_error = begin, end, add
        self.tape: Any = MemoryTape({}) if tape is None else tape
        self.has_ended = False

    def begin(self, meta: Mapping[str, Any]) -> MemoryTape | None:
        if self.begin_error:
            raise LookupError(self.begin_error)
        if self.end_error:
            self.tape.end = self.fail
            return self.tape  # type: ignore[no-any-return]
        if self.add_error:
            self.tape.add = self.fail
            self.tape.end = self.see_end
            return self.tape  # type: ignore[no-any-return]
        return None if isinstance(self.tape, MemoryTape) else self.tape

    def fail(self, *given: object) -> None:
        raise LookupError(self.end_error or self.add_error)

    def see_end(self, is_bad: bool) -> None:
        self.has_ended = True


@pytest.mark.parametrize(
    "recorder",
    [Fussy(), Fussy(begin="no begin"), Fussy(end="no end"), Fussy(add="no add"), Fussy(tape="no tape at all")],
)
async def test_a_recorder_that_does_not_want_or_fails_costs_no_call(
    recorder: Fussy, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate()
    gate.say(FIRST_MESSAGE)

    async def on_connect(client: Client) -> None:
        await client.send_audio_buffer(FRAMES[0])
        await client.drain()
        gate.hang_up()

    await gate.serve(AudioConnector(on_connect, recorder=recorder))
    assert gate.sent == [FRAMES[0]]
    failed = recorder.begin_error or recorder.end_error or recorder.add_error
    is_wrong = bool(failed) or not isinstance(recorder.tape, MemoryTape)
    assert ("its recorder failed" in caplog.text) is is_wrong
    assert failed in caplog.text
    assert recorder.has_ended is bool(recorder.add_error)


async def test_in_memory_the_oldest_go() -> None:
    recorder = MemoryRecorder(most=3)
    for number in range(5):
        gate = Gate()
        gate.say(f'{{"number":{number}}}')
        gate.hang_up()
        await gate.serve(AudioConnector(recorder=recorder))
    texts = [payloads(recording, Kind.TEXT_TO_SERVER) for recording in recorder.recordings]
    assert texts == [[f'{{"number":{number}}}'.encode()] for number in (2, 3, 4)]


@pytest.mark.parametrize("wrong", ["calls", 1, FlightRecorder, object()])
def test_what_is_no_recorder_is_refused(wrong: Any) -> None:
    with pytest.raises(AudioConnectorConfigError, match="recorder must be a FlightRecorder"):
        AudioConnector(recorder=wrong)
    with pytest.raises(AudioConnectorConfigError, match="recorder must be a FlightRecorder"):
        AudioConnectorServerConfig(host="localhost", port=0, recorder=wrong)


def test_a_recorder_belongs_to_the_connector_and_not_to_the_server_of_an_app(recorder: MemoryRecorder) -> None:
    app = AudioConnector(recorder=recorder)
    assert app.config.recorder is recorder
    with pytest.raises(AudioConnectorConfigError, match="recorder is a setting of a connector"):
        AudioConnectorServerConfig(host="localhost", port=0, app=app, recorder=recorder)


@pytest.mark.parametrize("recorder", [None, MemoryRecorder()])
async def test_a_call_has_few_attributes(recorder: MemoryRecorder | None) -> None:
    """From 30 on CPython 3.11 gives each object a table of its own, of 1.6 kB, and looks attributes up more slowly."""
    gate = Gate()
    gate.say(FIRST_MESSAGE)
    counts = []

    async def on_connect(client: Client) -> None:
        counts.append(len(vars(client._call)))
        gate.hang_up()

    await gate.serve(AudioConnector(on_connect, recorder=recorder))
    assert 20 < counts[0] < 29
