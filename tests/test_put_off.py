"""A program at another sample rate: frames that are converted together with those of other calls are the same."""

from __future__ import annotations

import random
from collections import Counter

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import ClientConnection, connect

from vonage_audio_connector_server import AudioConnector, AudioConnectorServerConfig, Client, Video
from vonage_audio_connector_server.audio import Resampler
from vonage_audio_connector_server.audio.polyphase import RATES_HZ, Polyphase, process_together
from vonage_audio_connector_server.call import incoming_rate, rate
from vonage_audio_connector_server.call.incoming_rate import IncomingRate
from vonage_audio_connector_server.call.together import Conversions
from vonage_audio_connector_server.core.session import Session
from vonage_audio_connector_server.link.base import TURN_S, LoopTurn
from vonage_audio_connector_server.recording import Kind
from vonage_audio_connector_server.testing import first_message, run, session

FRAME_BYTES = 640
CALLS, ROUNDS = 12, 30


def noise(dice: random.Random, rate_hz: int, seconds: float = 0.02) -> bytes:
    return dice.randbytes(2 * round(rate_hz * seconds))


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[tuple[int, int], int]]:
    """How often so many frames were converted together, by their rates."""
    found: Counter[tuple[tuple[int, int], int]] = Counter()
    convert = Conversions.run

    def counted(conversions: Conversions) -> None:
        found[conversions[0][0].plan.rates_hz, len(conversions)] += 1
        convert(conversions)

    monkeypatch.setattr(Conversions, "run", counted)
    return found


@pytest.fixture
def _no_hole(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long this machine stands still, a stream has no hole."""
    monkeypatch.setattr(incoming_rate, "HOLE_S", 60.0)
    monkeypatch.setattr(rate, "LIVE_S", 60.0)


@given(
    from_hz=st.sampled_from(RATES_HZ),
    to_hz=st.sampled_from(RATES_HZ),
    streams=st.integers(1, 40),
    seed=st.integers(0, 1000),
)
@settings(deadline=None, max_examples=60)
def test_frames_of_several_streams_are_what_each_would_be_alone(
    from_hz: int, to_hz: int, streams: int, seed: int
) -> None:
    if from_hz == to_hz:
        return
    dice = random.Random(seed)
    alone, others = [[Polyphase(from_hz, to_hz) for _ in range(streams)] for _ in range(2)]
    for _ in range(4):
        frames = [noise(dice, from_hz) for _ in range(streams)]
        wanted = [stream.process(frame) for stream, frame in zip(alone, frames, strict=True)]
        if all(stream.is_steady for stream in others):
            assert process_together(list(zip(others, frames, frames, strict=True))) == wanted
            assert {len(frame) for frame in wanted} == {2 * to_hz // 50}
        else:
            assert [stream.process(frame) for stream, frame in zip(others, frames, strict=True)] == wanted
    assert all(stream.is_steady for stream in others)
    ends = [(one.samples_in, one.samples_out, one.end()) for one in alone]
    assert [(one.samples_in, one.samples_out, one.end()) for one in others] == ends


def test_a_stream_that_got_half_a_frame_is_not_steady() -> None:
    stream = Polyphase(16_000, 24_000)
    stream.process(bytes(640))
    assert stream.is_steady
    stream.process(bytes(2 * 17))
    assert not stream.is_steady


def test_what_stands_for_a_frame_is_replaced_where_it_is() -> None:
    called = Session(0.0)
    called.text_received(first_message())
    out = called.out
    stand_in, sound = bytes(FRAME_BYTES), b"\1\2" * 320
    out.outbox.append("before")
    out.fill(stand_in, sound)
    assert out.outbox == ["before"]
    out.outbox.clear()
    assert out.push_live(stand_in, 0.0) is not None
    out.outbox.append("behind")
    out.fill(stand_in, sound)
    assert out.outbox == [sound, "behind"]


def echoed(said: list[bytes]) -> list[bytes]:
    """What comes back of frames at 16 kHz from a program that works at 24 kHz: a live stream begins with silence."""
    there, back = Resampler(16_000, 24_000), Resampler(24_000, 16_000)
    found = []
    for frame in said:
        is_first = not there.samples_in
        made = there.process(frame)
        sound = back.process(made.rjust(960, b"\0") if is_first else made)
        found.append(sound.rjust(FRAME_BYTES, b"\0") if is_first else sound)
    return found


@pytest.mark.anyio
@pytest.mark.usefixtures("_no_hole")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # of our server
@pytest.mark.parametrize("waits", [False, True], ids=["a handler", "a handler that waits"])
async def test_many_calls_hear_what_each_would_alone(
    together: Counter[tuple[tuple[int, int], int]], waits: bool
) -> None:
    """Twelve sessions speak at once; a text stands behind every third frame, and frames come in pairs now and then."""

    async def on_connect(client: Client) -> None:
        frames = 0

        async def on_message(message: bytes | str) -> None:
            nonlocal frames
            if waits:
                await checkpoint()
            if isinstance(message, bytes):
                frames += 1
                assert len(message) == 960
                await client.send_audio_buffer(message)
            else:
                await client.send_json_packet({"frames": frames})

        client.set_handler(on_message=on_message)

    async def talk(number: int, peer: ClientConnection) -> None:
        dice = random.Random(number)
        said: list[bytes] = []
        heard: list[bytes] = []
        texts: list[str] = []

        async def hear(count: int) -> None:
            while len(heard) + len(texts) < count:
                message = await peer.recv()
                if isinstance(message, bytes):
                    heard.append(message)
                else:
                    texts.append(message)

        wanted_texts = []
        for turn in range(ROUNDS):
            for _ in range(2 if turn % 7 == 3 else 1):
                said.append(noise(dice, 16_000))
                await peer.send(said[-1])
            if turn % 3 == 2:
                await peer.send("{}")
                wanted_texts.append(f'{{"frames":{len(said)}}}')
            await hear(len(said) + len(wanted_texts))
        assert heard == echoed(said)
        assert texts == wanted_texts

    async with await Video().start_audio_connector_server(
        AudioConnectorServerConfig(host="127.0.0.1", port=0, on_connect=on_connect, sample_rate_hz=24_000)
    ) as handle:
        address = f"ws://127.0.0.1:{handle.port}/"
        peers = [await connect(address, proxy=None, compression=None) for _ in range(CALLS)]
        for peer in peers:
            await peer.send(first_message())
            assert await peer.recv() == '{"frames":0}'
        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                for number, peer in enumerate(peers):
                    tasks.start_soon(talk, number, peer)
        for peer in peers:
            await peer.close()
    for rates in ((16_000, 24_000), (24_000, 16_000)):
        assert max(count for one, count in together if one == rates) > CALLS / 2


DOINGS = ("flush", "pause", "resume", "text", "wire", "half", "end", "notify", "wait", "silence", "two")


def doings(dice: random.Random) -> list[str]:
    """Mostly frames of a live stream; anything else now and then, and silence behind it, so that it is one again."""
    found: list[str] = []
    while len(found) < 300:
        found += ["frame"] * dice.randint(3, 20) + dice.choices(DOINGS, k=dice.randint(1, 3))
        if dice.random() < 0.5:
            found += ["resume", "flush", "silence"]
    return found


async def heard_of(seed: int) -> list[tuple[float, Kind, bytes]]:
    """All that a session gets of a program that does anything in any order."""

    async def on_connect(client: Client) -> None:
        dice = random.Random(seed)
        await client.wait_format()
        for doing in doings(dice):
            if doing not in ("wait", "silence"):
                client.send_audio_buffer(noise(dice, 24_000))  # and at once behind it:
            if doing == "two":
                client.send_audio_buffer(noise(dice, 24_000))
            elif doing in ("pause", "resume"):
                getattr(client, doing)()
            elif doing == "flush":
                client.flush_buffer()
            elif doing == "text":
                client.send_json_packet({"a": 1})
            elif doing == "wire":
                client.send_audio_buffer(noise(dice, 16_000), sample_rate_hz=16_000)
            elif doing == "half":
                client.send_audio_buffer(noise(dice, 24_000, 0.01))
            elif doing == "end":
                client.send_audio_buffer(noise(dice, 24_000), pad_last_frame=True)
            elif doing == "notify":
                client.notify({"b": 2})
            await anyio.sleep(0.005 if doing == "wait" else 0.1 if doing == "silence" else 0.02)
        client.resume()
        await client.drain()
        client.disconnect()

    async with session(AudioConnector(on_connect, sample_rate_hz=24_000), router="lenient") as call:
        await call.wait_ended(within_s=60)
        entries = call.recording.entries
    kinds = (Kind.AUDIO_FROM_SERVER, Kind.TEXT_FROM_SERVER)
    return [(round(one.at_s, 6), one.kind, one.payload) for one in entries if one.kind in kinds]


@pytest.mark.parametrize("seed", range(25))
def test_whatever_a_program_does_the_session_hears_the_same_put_off_or_not(
    seed: int, together: Counter[tuple[tuple[int, int], int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    put_off = run(heard_of, seed)
    assert together.total() > 50
    together.clear()
    monkeypatch.setattr(LoopTurn, "gathers", lambda turn: False)
    assert run(heard_of, seed) == put_off
    assert together.total() == 0
    assert sum(kind is Kind.AUDIO_FROM_SERVER for _, kind, _ in put_off) > 50


@pytest.mark.anyio
@pytest.mark.usefixtures("_no_hole")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # of our server
async def test_what_came_before_the_goodbye_is_handed_over_before_the_end() -> None:
    """Frames and the close frame come in one read."""
    counts: list[int] = []
    ended = anyio.Event()

    async def on_connect(client: Client) -> None:
        count = 0
        async for message in client:
            count += isinstance(message, bytes)
            client.send_json_packet({"count": count})
        counts.append(count)
        ended.set()

    async with await Video().start_audio_connector_server(
        AudioConnectorServerConfig(host="127.0.0.1", port=0, on_connect=on_connect, sample_rate_hz=24_000)
    ) as handle:
        async with connect(f"ws://127.0.0.1:{handle.port}/", proxy=None, compression=None) as peer:
            await peer.send(first_message())
            assert await peer.recv() == '{"count":0}'
            for number in range(1, 6):
                await peer.send(bytes(FRAME_BYTES))
                assert await peer.recv() == f'{{"count":{number}}}'
            await peer.send(bytes(FRAME_BYTES))  # and at once the close
        with anyio.fail_after(5):
            await ended.wait()
    assert counts == [6]


def test_where_the_turn_is_late_a_frame_counts_as_having_come_now() -> None:
    """So that the dispatcher lets others run: the handlers before it have taken the time of this turn."""
    called = Session(0.0)
    called.text_received(first_message())
    turn, now_s = LoopTurn(0.0), 0.0
    told: list[float] = []
    stream = IncomingRate(called, 24_000, lambda item, at_s: told.append(at_s), turn, lambda: now_s)
    stream.deliver(bytes(FRAME_BYTES), 0.0)
    assert told.pop() == pytest.approx(0.0, abs=0.003)
    turn.is_reading = True
    for came_s, took_s in ((0.02, TURN_S / 2), (0.04, TURN_S * 2)):
        turn.began_s = came_s
        stream.deliver(bytes(FRAME_BYTES), came_s)
        assert not told
        now_s = came_s + took_s
        turn.finish()
        counts_as_s = now_s if took_s > TURN_S else came_s
        assert told.pop() == pytest.approx(counts_as_s, abs=0.003)
