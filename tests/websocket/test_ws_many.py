"""A long connection: the memory of the server does not grow with the messages."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from .ws_peer import BINARY, TEXT, Peer, frame
from .ws_way import CLASSES, Way

BLOCK, BLOCKS = 20_000, 50  # a million messages


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of the memory is told in other units elsewhere")
def test_a_million_messages_leave_the_memory_flat(way: Way) -> None:
    if way.secure or way.protocol != "ours":
        pytest.skip("our own class only, and in the clear: it would take minutes")
    program = str(Path(__file__).with_name("ws_many.py"))

    async def talk(port: int) -> list[int]:
        peaks_kib: list[int] = []
        peer = await Peer.connect(port, None)
        peer.request()
        assert (await peer.answer()).status == 101
        for block in range(BLOCKS):
            numbers = range(block * BLOCK, (block + 1) * BLOCK)
            peer.write(*(frame(BINARY, number.to_bytes(4)) for number in numbers), frame(TEXT, b"?"))
            said = await peer.message()
            assert isinstance(said, str)
            count, peak_kib = said.split()
            assert int(count) == numbers.stop
            peaks_kib.append(int(peak_kib))
        await peer.leave()
        return peaks_kib

    arguments = [sys.executable, program, CLASSES[way.protocol], way.loop]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None
            peaks_kib = asyncio.run(asyncio.wait_for(talk(int(server.stdout.readline())), 50))
            assert server.wait(5) == 0
        finally:
            server.kill()
    assert peaks_kib[-1] - peaks_kib[4] < 2048, peaks_kib  # after 100,000 all is warm
