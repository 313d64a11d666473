"""The hub: who speaks when in a session, whoever comes, goes, and comes back."""

from __future__ import annotations

import gc
import random
import weakref
from collections import defaultdict
from contextlib import AsyncExitStack
from typing import Any

import anyio
import pytest
from starlette.testclient import TestClient

from vonage_audio_connector_server import (
    AudioConnector,
    AudioConnectorConfigError,
    SpeechSegment,
    VideoSession,
)
from vonage_audio_connector_server.testing import TestCall, first_message, on_virtual_clock, recording, session

SECOND = b"\1\1" * 16_000
WORD = recording("librivox-4", 16_000)[2 * 8_320 : 2 * 17_920]  # 0.6 s, loud and voiced from the first frame on


def joins(connector: AudioConnector, session_id: str, name: str, **settings: Any) -> Any:
    """A stream of a session, with who speaks in it."""
    headers = {"x-opentok-ws-sessionid": session_id, "x-opentok-ws-connectionid": f"id of {name}", "speaker": name}
    return session(connector, headers=headers, silence="none", **settings)


class Heard:
    """What a program gets of its sessions."""

    def __init__(self) -> None:
        self.segments: dict[str, list[SpeechSegment]] = defaultdict(list)
        self.sessions: list[VideoSession] = []
        self.ended: list[VideoSession] = []
        self.connector = AudioConnector(on_session_start=self.start, on_session_end=self.end)

    async def start(self, one: VideoSession) -> None:
        self.sessions.append(one)
        async for segment in one.speech():
            self.segments[one.id].append(segment)

    def end(self, one: VideoSession) -> None:
        self.ended.append(one)


@on_virtual_clock
async def test_two_speakers_of_one_session_and_one_of_another() -> None:
    heard = Heard()
    async with joins(heard.connector, "s1", "Ann") as ann:
        await anyio.sleep(1)
        async with joins(heard.connector, "s1", "Bob") as bob, joins(heard.connector, "s2", "Cem") as cem:
            await anyio.sleep(0.5)
            assert sorted(heard.connector.sessions) == ["s1", "s2"]
            assert [one.name for one in heard.connector.sessions["s1"].present] == ["Ann", "Bob"]
            ann.say(WORD)
            cem.say(WORD)
            await anyio.sleep(0.3)
            await bob.say(WORD)
            await anyio.sleep(1)
        assert len(heard.connector.sessions["s1"].present) == 1
        assert list(heard.connector.sessions) == ["s1"]
        await ann.say(WORD)
    await anyio.sleep(0.1)
    assert not heard.connector.sessions
    assert [one.id for one in heard.ended] == ["s2", "s1"]

    got = [(one.participant.name, one.start_s, one.end_s) for one in heard.segments["s1"]]
    assert [name for name, _, _ in got] == ["Ann", "Bob", "Ann"]
    starts_s = [start_s for _, start_s, _ in got]
    assert starts_s[0] == pytest.approx(1.5, abs=0.2)
    assert starts_s[1] - starts_s[0] == pytest.approx(0.3, abs=0.05)
    assert [end_s - start_s for _, start_s, end_s in got] == pytest.approx([0.6] * 3, abs=0.05)
    assert [one.participant.name for one in heard.segments["s2"]] == ["Cem"]
    first, second = heard.sessions[0].participants
    assert second.joined_s == pytest.approx(1.0, abs=0.1)
    assert second.left_s is not None
    assert first.left_s is not None
    assert second.left_s < first.left_s
    assert repr(heard.sessions[0]) == "<VideoSession s1: 0 participants>"


def counted(heard: Heard, lengths: dict[str, float]) -> dict[tuple[str, str], int]:
    """How many segments each speaker of each session has; each is as long as its speaker's."""
    got: dict[tuple[str, str], int] = defaultdict(int)
    for session_id, segments in heard.segments.items():
        for segment in segments:
            name = segment.participant.name
            assert int(name) % 5 == int(session_id[-1])
            assert segment.end_s - segment.start_s == pytest.approx(lengths[name], abs=0.05)
            assert segment.participant.joined_s <= segment.start_s
            got[session_id, name] += 1
    return got


@pytest.mark.slow
@pytest.mark.timeout(300)
@on_virtual_clock(backends=("asyncio", "trio"))
async def test_fifty_streams_of_five_sessions_that_come_and_go_for_ten_minutes() -> None:
    """No segment under a wrong speaker, none lost, and nothing is left at the end."""
    dice = random.Random(5)
    heard = Heard()
    said: dict[tuple[str, str], list[float]] = defaultdict(list)  # when each spoke, on the test's clock
    began_s: dict[str, list[float]] = defaultdict(list)
    lengths = {name: 0.4 + 0.02 * number for number, name in enumerate(f"{n:02d}" for n in range(50))}

    async def stream(name: str, session_id: str) -> None:
        await anyio.sleep(dice.uniform(0, 60))
        sound = (WORD * 3)[: 2 * round(lengths[name] * 16_000)]  # by its length it is known whose it is
        while (left_s := 600 - anyio.current_time() + start_s) > 20:
            async with joins(heard.connector, session_id, name) as call:
                stays_until_s = anyio.current_time() + min(dice.uniform(5, 120), left_s)
                await anyio.sleep(0.3)
                while anyio.current_time() < stays_until_s:
                    said[session_id, name].append(anyio.current_time())
                    await call.say(sound)
                    if dice.random() < 0.1:
                        break  # it hangs up behind its last word
                    await anyio.sleep(dice.uniform(1.0, 25.0))
            await anyio.sleep(dice.uniform(0.0, 40.0))

    async def watch_sessions() -> None:
        while True:
            for one in heard.connector.sessions.values():
                if not began_s[one.id] or anyio.current_time() - one.now_s > began_s[one.id][-1] + 1e-6:
                    began_s[one.id].append(anyio.current_time() - one.now_s)
            await anyio.sleep(0.05)

    start_s = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch_sessions)
        async with anyio.create_task_group() as streams:
            for number, name in enumerate(lengths):
                streams.start_soon(stream, name, f"session {number % 5}")
        tasks.cancel_scope.cancel()
    await anyio.sleep(1)

    assert not heard.connector.sessions
    assert heard.connector.connections == 0
    assert sorted(map(id, heard.ended)) == sorted(map(id, heard.sessions))
    got = counted(heard, lengths)
    assert got == {key: len(times) for key, times in said.items()}
    assert sum(got.values()) > 1_000

    one = weakref.ref(heard.sessions[0])
    heard.sessions, heard.ended = [], []
    heard.segments = defaultdict(list)
    gc.collect()
    assert one() is None


@on_virtual_clock
async def test_something_is_said_to_all_or_into_one() -> None:
    connector = AudioConnector()
    async with AsyncExitStack() as stack:
        calls: list[TestCall] = [await stack.enter_async_context(joins(connector, "s", name)) for name in "abc"]
        await anyio.sleep(0.3)
        one = connector.sessions["s"]
        playbacks = one.send_audio_buffer(SECOND)
        one.send_json_packet({"caption": "hello"})
        one.participants[1].client.send_audio_buffer(b"\2\2" * 8_000)
        for playback in playbacks:
            await playback.wait()
        await anyio.sleep(1)
        assert [call.heard.count(1) for call in calls] == [32_000] * 3
        assert [call.heard.count(2) for call in calls] == [0, 16_000, 0]
        assert all(event.data == {"caption": "hello"} for call in calls for event in call.events[:1])
        calls[0].hang_up()
        one.send_audio_buffer(SECOND)
        await anyio.sleep(0.5)
        assert len(one.send_audio_buffer(SECOND)) == 2
        one.flush_buffer()
        assert connector.sessions.of(one.participants[1].client) is one
        assert connector.sessions.of(one.participants[0].client) is None


@on_virtual_clock
async def test_names_come_from_keys_headers_or_the_connection() -> None:
    connector = AudioConnector()
    id_header = {"x-opentok-ws-sessionid": "s", "x-opentok-ws-connectionid": "c1"}
    for headers, name in (({"name": "Ann"}, "Ann"), ({"speaker": "Bob", "name": "x"}, "Bob"), ({}, "c1")):
        async with session(connector, headers=id_header | headers):
            await anyio.sleep(0.3)
            (one,) = connector.sessions.values()
            assert repr(one.present[0]) == f"<Participant {name}>"
    async with session(connector), session(connector):
        await anyio.sleep(0.1)
        assert len(connector.sessions) == 2  # each made up its own


@on_virtual_clock
async def test_a_hook_that_fails_costs_no_call_and_the_end_is_told(caplog: pytest.LogCaptureFixture) -> None:
    ended: list[str] = []

    async def start(one: VideoSession) -> None:
        raise ZeroDivisionError("no minutes")

    async def end(one: VideoSession) -> None:
        ended.append(one.id)

    async with joins(AudioConnector(on_session_start=start, on_session_end=end), "s", "Ann"):
        await anyio.sleep(0.5)
    await anyio.sleep(0.1)
    assert ended == ["s"]
    assert "session s: " in caplog.text
    assert "ZeroDivisionError: no minutes" in caplog.text


@on_virtual_clock
async def test_a_hook_that_goes_on_for_ever_is_ended_behind_its_grace() -> None:
    ended_s: list[float] = []

    async def start(one: VideoSession) -> None:
        await anyio.sleep_forever()

    def end(one: VideoSession) -> None:
        ended_s.append(anyio.current_time())

    async with joins(AudioConnector(on_session_start=start, on_session_end=end), "s", "Ann"):
        await anyio.sleep(0.5)
    left_s = anyio.current_time()
    await anyio.sleep(10)
    assert ended_s == [pytest.approx(left_s + 5, abs=0.2)]


@on_virtual_clock
async def test_a_listener_that_comes_late_hears_those_who_are_there() -> None:
    connector = AudioConnector()
    got: list[SpeechSegment] = []
    async with joins(connector, "s", "Ann") as call:
        await call.say(WORD)
        await anyio.sleep(1)

        async def listen(one: VideoSession) -> None:
            async for segment in one.speech("energy", hang_over_s=0.3, sample_rate_hz=8_000):
                got.append(segment)  # noqa: PERF401 (as they come)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listen, connector.sessions["s"])
            await anyio.sleep(0.1)
            await call.say(WORD)
            await anyio.sleep(0.5)
            call.hang_up()
    assert [segment.sample_rate_hz for segment in got] == [8_000]
    assert len(got[0].pcm) / 16_000 == pytest.approx(0.6, abs=0.05)


@on_virtual_clock
async def test_what_can_not_be_listened_for_is_refused() -> None:
    connector = AudioConnector()
    async with joins(connector, "s", "Ann"):
        await anyio.sleep(0.1)
        one = connector.sessions["s"]
        with pytest.raises(AudioConnectorConfigError, match="detector"):
            one.speech("ear")  # type: ignore[arg-type]  # that is the test
        with pytest.raises(AudioConnectorConfigError, match="hang_over_s"):
            one.speech(hang_over_s=-1)
    assert one.is_over
    assert [segment async for segment in one.speech()] == []
    await one.wait_ended()
    for name in ("on_session_start", "on_session_end"):
        hook: Any = lambda: None  # noqa: E731 (it takes no session)
        with pytest.raises(AudioConnectorConfigError, match=name):
            AudioConnector(**{name: hook})


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_hooks_run_under_test_client(backend: Any) -> None:
    told: list[str] = []

    async def start(one: VideoSession) -> None:
        told.append(f"start {one.id}")
        await one.wait_ended()
        told.append("over")

    async def end(one: VideoSession) -> None:
        told.append("end")

    connector = AudioConnector(on_session_start=start, on_session_end=end)
    with TestClient(connector, backend=backend) as test_client:
        with test_client.websocket_connect("/", headers={"x-opentok-ws-sessionid": "s"}) as websocket:
            websocket.send_text(first_message())
        assert test_client.portal is not None
        test_client.portal.call(anyio.sleep, 0.2)
    assert told == ["start s", "over", "end"]
