import sys
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from vonage_audio_connector_server.errors import AudioConnectorConfigError, MissingExtraError
from vonage_audio_connector_server.simulator.devices import Devices, open_devices

pytestmark = pytest.mark.anyio

FRAME = bytes(range(1, 161)) * 4  # 20 ms at 16 kHz
SILENCE = bytes(640)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class PortAudioError(Exception):
    pass


class FakeStream:
    """A stream of sounddevice, whose clock is the test."""

    def __init__(self, module: "FakeSounddevice", name: str, **options: Any) -> None:
        if module.fails == f"open {name}":
            raise PortAudioError("Invalid sample rate [PaErrorCode -9997]")
        if module.fails == f"no {name}":
            raise ValueError("No default device")
        self.module = module
        self.name = name
        self.callback: Callable[..., None] = options.pop("callback")
        self.options = options
        self.state = "open"
        module.streams[name] = self

    def start(self) -> None:
        if self.module.fails == f"start {self.name}":
            raise PortAudioError("Device unavailable")
        self.state = "running"

    def close(self) -> None:
        self.state = "closed"

    def record(self, data: bytes, status: object = None) -> None:
        self._run(memoryview(data), status)

    def fill(self, status: object = None) -> bytes:
        data = bytearray(640)
        self._run(memoryview(data), status)
        return bytes(data)

    def _run(self, data: memoryview, status: object) -> None:
        thread = threading.Thread(target=self.callback, args=(data, len(data) // 2, None, status))  # as PortAudio does
        thread.start()
        thread.join()


class FakeSounddevice(ModuleType):
    PortAudioError = PortAudioError

    def __init__(self) -> None:
        super().__init__("sounddevice")
        self.fails = ""
        self.streams: dict[str, FakeStream] = {}

    def RawInputStream(self, **options: Any) -> FakeStream:  # noqa: N802 (its name there)
        return FakeStream(self, "microphone", **options)

    def RawOutputStream(self, **options: Any) -> FakeStream:  # noqa: N802 (its name there)
        return FakeStream(self, "loudspeaker", **options)


@pytest.fixture
def sounddevice(monkeypatch: pytest.MonkeyPatch) -> FakeSounddevice:
    module = FakeSounddevice()
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    return module


def dropouts(devices: Devices) -> tuple[int, int]:
    return devices.microphone_dropouts, devices.loudspeaker_dropouts


async def test_both_are_opened_at_the_rate_of_the_call_and_closed(sounddevice: FakeSounddevice) -> None:
    async with open_devices(24_000):
        assert list(sounddevice.streams) == ["microphone", "loudspeaker"]
        for stream in sounddevice.streams.values():
            assert stream.options == {"samplerate": 24_000, "blocksize": 480, "channels": 1, "dtype": "int16"}
            assert stream.state == "running"
    assert {stream.state for stream in sounddevice.streams.values()} == {"closed"}


async def test_what_the_microphone_hears_is_read_in_order(sounddevice: FakeSounddevice) -> None:
    async with open_devices(16_000) as devices:
        assert devices.read_frame() is None
        for number in range(3):
            sounddevice.streams["microphone"].record(bytes([number]) * 640)
        assert [devices.read_frame() for _ in range(4)] == [bytes([number]) * 640 for number in range(3)] + [None]
        assert dropouts(devices) == (0, 0)


async def test_what_was_heard_before_the_call_does_not_delay_it(sounddevice: FakeSounddevice) -> None:
    async with open_devices(16_000) as devices:
        for number in range(50):
            sounddevice.streams["microphone"].record(bytes([number]) * 640)
        assert devices.read_frame() == bytes([49]) * 640
        assert devices.read_frame() is None
        assert dropouts(devices) == (0, 0)


async def test_what_nobody_reads_in_time_is_dropped_and_counted(sounddevice: FakeSounddevice) -> None:
    async with open_devices(16_000) as devices:
        devices.read_frame()
        for number in range(12):
            sounddevice.streams["microphone"].record(bytes([number]) * 640)
        assert devices.read_frame() == bytes([2]) * 640
        assert dropouts(devices) == (2, 0)
        sounddevice.streams["microphone"].record(FRAME, status="input overflow")
        assert dropouts(devices) == (3, 0)


async def test_frames_are_played_behind_a_cushion(sounddevice: FakeSounddevice) -> None:
    async with open_devices(16_000) as devices:
        loudspeaker = sounddevice.streams["loudspeaker"]
        assert loudspeaker.fill() == SILENCE
        for _ in range(2):
            devices.play(FRAME)
            assert loudspeaker.fill() == SILENCE
        devices.play(FRAME)
        assert [loudspeaker.fill() for _ in range(3)] == [FRAME] * 3
        assert dropouts(devices) == (0, 0)

        assert [loudspeaker.fill() for _ in range(2)] == [SILENCE] * 2  # it has run dry, once
        assert dropouts(devices) == (0, 1)
        devices.play(FRAME)
        assert loudspeaker.fill() == SILENCE
        for _ in range(2):
            devices.play(FRAME)
        assert loudspeaker.fill() == FRAME
        assert loudspeaker.fill(status="output underflow") == FRAME
        assert dropouts(devices) == (0, 2)


async def test_what_comes_too_fast_is_dropped_and_counted(sounddevice: FakeSounddevice) -> None:
    async with open_devices(16_000) as devices:
        for number in range(30):
            devices.play(bytes([number]) * 640)
        assert dropouts(devices) == (0, 5)
        played = [sounddevice.streams["loudspeaker"].fill() for _ in range(25)]
        assert played == [bytes([number]) * 640 for number in range(25)]


async def test_a_shorter_frame_is_filled_up_with_silence(sounddevice: FakeSounddevice) -> None:
    async with open_devices(16_000) as devices:
        for _ in range(3):
            devices.play(FRAME[:320])
        assert sounddevice.streams["loudspeaker"].fill() == FRAME[:320] + bytes(320)


@pytest.mark.parametrize(
    ("fails", "told"),
    [
        ("open microphone", r"the microphone can't be opened at 16000 Hz: Invalid sample rate .*-m sounddevice lists"),
        ("no microphone", "the microphone can't be opened at 16000 Hz: No default device"),
        ("start microphone", "the microphone can't be opened"),
        ("open loudspeaker", "the loudspeaker can't be opened"),
        ("start loudspeaker", "the loudspeaker can't be opened at 16000 Hz: Device unavailable"),
    ],
)
async def test_where_a_device_fails_the_other_one_is_closed(
    sounddevice: FakeSounddevice, fails: str, told: str
) -> None:
    sounddevice.fails = fails

    with pytest.raises(AudioConnectorConfigError, match=told):
        await open_devices(16_000).__aenter__()
    assert {stream.state for stream in sounddevice.streams.values()} <= {"closed"}


async def test_an_error_in_the_block_closes_both(sounddevice: FakeSounddevice) -> None:
    async def fail() -> None:
        async with open_devices(16_000):
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await fail()
    assert {stream.state for stream in sounddevice.streams.values()} == {"closed"}


async def test_without_sounddevice_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)

    with pytest.raises(MissingExtraError, match=r"the microphone needs the extra 'mic'"):
        await open_devices(16_000).__aenter__()


async def test_without_portaudio_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    class Finder:
        @staticmethod
        def find_spec(name: str, path: object = None, target: object = None) -> None:
            if name == "sounddevice":
                raise OSError("PortAudio library not found")  # what importing it says

    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])

    with pytest.raises(AudioConnectorConfigError, match=r"PortAudio library not found.+libportaudio2"):
        await open_devices(16_000).__aenter__()
