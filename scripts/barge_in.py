"""Measures 100 interruptions in the middle of a 60-second answer, over a real socket.

The server and the caller are processes of their own; both read the same monotonic clock. Prints what came after the
call of `flush_buffer()`: old frames, which there must not be more of than lead and batch, and the time from the call
until the first frame of the new answer arrived. Ends with 1 where one of 100 is over 20 ms, or an answer is incomplete.

    python scripts/barge_in.py
"""

import asyncio
import random
import socket
import statistics
import subprocess
import sys
import time

from websockets.asyncio.client import connect

from vonage_audio_connector_server import AudioConnectorServerConfig, Client, Video

ROUNDS, NEW_FRAMES, FRAME_BYTES = 100, 25, 640
LEAD_AND_BATCH_FRAMES, LIMIT_S = 15, 0.020


async def on_connect(client: Client) -> None:
    """Each text message asks for an interruption: told when, with the number of the new answer."""
    await client.wait_format()
    await client.send_audio_buffer(b"\0\0" * 16_000 * 60)

    async def on_message(message: bytes | str) -> None:
        if isinstance(message, str) and message.isdigit():
            called_s = time.monotonic()
            client.flush_buffer()
            answer = int(message).to_bytes(2, "little") * (FRAME_BYTES // 2 * NEW_FRAMES)
            await client.send_audio_buffer(answer, pad_last_frame=True)
            await client.send_audio_buffer(b"\0\0" * 16_000 * 60)  # the next old answer
            await client.send_json_packet({"called_s": called_s})

    client.set_handler(on_message=on_message)


def serve() -> None:
    """The server's process."""

    def on_start() -> None:
        print("listening", flush=True)

    Video().run_audio_connector_server(
        AudioConnectorServerConfig(host="127.0.0.1", port=int(sys.argv[2]), on_start=on_start, on_connect=on_connect)
    )


async def measure(port: int) -> bool:
    """Interrupt the server 100 times and print what came; tells whether all held."""
    rng = random.Random(1)
    delays_s: list[float] = []
    old_frames: list[int] = []
    ahead_frames: list[int] = []
    complete = 0
    async with connect(f"ws://127.0.0.1:{port}", compression=None, proxy=None) as peer:
        await peer.send(' {"content-type":"audio/l16;rate=16000","event":"websocket:connected"}')
        started_s, received = time.monotonic(), 0
        for number in range(1, ROUNDS + 1):
            marker = number.to_bytes(2, "little")
            until_s = time.monotonic() + 0.6 + rng.random() * 0.2  # the new answer is played, the next old one plays
            while (left_s := until_s - time.monotonic()) > 0:
                try:
                    received += isinstance(await asyncio.wait_for(peer.recv(), left_s), bytes)
                except TimeoutError:
                    break
            ahead_frames.append(received - round((time.monotonic() - started_s) / 0.02))
            await peer.send(str(number))
            arrived: list[tuple[float, bytes]] = []
            called_s = 0.0
            new = 0
            while new < NEW_FRAMES or not called_s:
                message = await peer.recv()
                if isinstance(message, bytes):
                    arrived.append((time.monotonic(), message[:2]))
                    new += message[:2] == marker
                elif "called_s" in message:
                    called_s = float(message.split(":")[1].rstrip("}"))
            first_s = next(at_s for at_s, kind in arrived if kind == marker)
            delays_s.append(first_s - called_s)
            old_frames.append(sum(called_s < at_s <= first_s and kind != marker for at_s, kind in arrived))
            complete += new == NEW_FRAMES
            started_s, received = first_s, sum(at_s >= first_s for at_s, _ in arrived)
    print(f"interruptions           {ROUNDS}")
    print(f"old frames after a call {max(old_frames)} at most (lead and batch: {LEAD_AND_BATCH_FRAMES})")
    print(f"ahead when interrupted  {max(ahead_frames)} frames at most")
    median_ms, most_ms = statistics.median(delays_s) * 1e3, max(delays_s) * 1e3
    print(f"first new frame after   {median_ms:.2f} ms median, {most_ms:.2f} ms at most")
    print(f"complete new answers    {complete}")
    return complete == ROUNDS and max(delays_s) <= LIMIT_S and max(old_frames) <= LEAD_AND_BATCH_FRAMES


def main() -> None:
    """The caller's process."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with subprocess.Popen([sys.executable, __file__, "serve", str(port)], stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None
            server.stdout.readline()
            held = asyncio.run(measure(port))
        finally:
            server.terminate()
    sys.exit(0 if held else 1)


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve()
    else:
        main()
