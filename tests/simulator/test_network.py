import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.abc
import pytest
import trustme
from anyio.streams.tls import TLSListener, TLSStream

from vonage_audio_connector_server.errors import AudioConnectorConfigError
from vonage_audio_connector_server.simulator.network import Faults, Relay, disturbed

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@dataclass
class Ends:
    """The two ends of a connection through a relay."""

    caller: anyio.abc.ByteStream
    server: anyio.abc.ByteStream
    relay: Relay
    told: list[tuple[str, float | None]]


@asynccontextmanager
async def listening(tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[int, Any]]:
    """A port, and where its connections come out."""
    accepted, connections = anyio.create_memory_object_stream[anyio.abc.ByteStream](10)

    async def serve(stream: anyio.abc.ByteStream) -> None:
        async with stream:
            await accepted.send(stream)
            await anyio.sleep_forever()

    tcp = await anyio.create_tcp_listener(local_host="127.0.0.1")
    listener = tcp if tls is None else TLSListener(tcp, tls, standard_compatible=False)
    async with tcp, accepted, connections, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        with anyio.fail_after(10):
            yield tcp.extra(anyio.abc.SocketAttribute.local_port), connections
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def connected(faults: Faults | None = None) -> AsyncIterator[Ends]:
    told: list[tuple[str, float | None]] = []
    async with listening() as (port, connections):
        async with disturbed(
            "127.0.0.1", port, faults, on_fault=lambda name, for_s: told.append((name, for_s))
        ) as relay:
            async with await anyio.connect_tcp("127.0.0.1", relay.port) as caller:
                with anyio.fail_after(5):
                    server = await connections.receive()
                yield Ends(caller, server, relay, told)


async def read(stream: anyio.abc.ByteStream, size: int) -> bytes:
    data = bytearray()
    with anyio.fail_after(5):
        while len(data) < size:
            data += await stream.receive(size - len(data))
    return bytes(data)


async def took_s(ends: Ends, data: bytes = b"x") -> float:
    """How long something is on its way to the server."""
    began_s = anyio.current_time()
    await ends.caller.send(data)
    assert await read(ends.server, len(data)) == data
    return anyio.current_time() - began_s


async def test_what_is_sent_arrives_both_ways_and_the_ends_of_both_sides() -> None:
    async with connected() as ends:
        data = bytes(range(256)) * 4096
        async with anyio.create_task_group() as tasks:
            for sender in (ends.caller, ends.server):
                tasks.start_soon(sender.send, data)
            assert await read(ends.server, len(data)) == data
            assert await read(ends.caller, len(data)) == data
        await ends.caller.send_eof()
        with pytest.raises(anyio.EndOfStream):
            await ends.server.receive()
        await ends.server.send(b"and now the other side")
        assert await read(ends.caller, 22) == b"and now the other side"
        await ends.server.send_eof()
        with pytest.raises(anyio.EndOfStream):
            await ends.caller.receive()
        assert ends.told == []


async def test_tls_works_through_it() -> None:
    authority = trustme.CA()
    server_tls, client_tls = (ssl.SSLContext(kind) for kind in (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT))
    authority.issue_cert("example.test").configure_cert(server_tls)
    authority.configure_trust(client_tls)
    async with listening(server_tls) as (port, connections):
        async with disturbed("127.0.0.1", port, Faults(delay_s=0.01)) as relay:
            stream = await anyio.connect_tcp("127.0.0.1", relay.port)
            async with await TLSStream.wrap(
                stream, hostname="example.test", ssl_context=client_tls, standard_compatible=False
            ) as caller:
                server = await connections.receive()
                await server.send(b"secret")
                assert await read(caller, 6) == b"secret"
                await server.aclose()


async def test_several_connections_at_once() -> None:
    async with listening() as (port, connections), disturbed("127.0.0.1", port) as relay:
        pairs = []
        for _ in range(5):
            caller = await anyio.connect_tcp("127.0.0.1", relay.port)
            pairs.append((caller, await connections.receive()))
        for number, (caller, _) in enumerate(pairs):
            await caller.send(b"%d" % number)
        for number, (caller, server) in enumerate(pairs):
            assert await read(server, 1) == b"%d" % number
            await caller.aclose()


async def test_everything_arrives_later_each_way() -> None:
    async with connected(Faults(delay_s=0.1)) as ends:
        assert 0.1 <= await took_s(ends) < 0.3
        began_s = anyio.current_time()
        await ends.server.send(b"y")
        await read(ends.caller, 1)
        assert 0.1 <= anyio.current_time() - began_s < 0.3
        assert ends.told == [("delay", None)]


async def test_a_delay_keeps_the_distances() -> None:
    async with connected(Faults(delay_s=0.2)) as ends:
        arrived_s: list[float] = []

        async def receive() -> None:
            for _ in range(5):
                await read(ends.server, 1)
                arrived_s.append(anyio.current_time())

        began_s = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receive)
            for number in range(5):
                await anyio.sleep_until(began_s + number * 0.02)
                await ends.caller.send(b"x")
        assert arrived_s == pytest.approx([began_s + 0.2 + number * 0.02 for number in range(5)], abs=0.1)
        assert arrived_s[-1] - began_s < 0.2 + 0.08 + 0.1  # not one delay behind the other


async def test_jitter_keeps_the_order() -> None:
    async with connected(Faults(jitter_s=0.05, seed=3)) as ends:
        for number in range(100):
            await ends.caller.send(bytes([number]))
        assert await read(ends.server, 100) == bytes(range(100))
        took = [await took_s(ends) for _ in range(8)]
        assert max(took) < 0.2
        assert max(took) - min(took) > 0.01
        assert ends.told == [("jitter", None)]


async def test_nothing_passes_during_a_stall_and_then_all_of_it() -> None:
    async with connected() as ends:
        assert await took_s(ends) < 0.15
        ends.relay.disturb(Faults(stalls=[(0.0, 0.2)]))
        assert ends.told == [("stall", 0.2)]
        began_s = anyio.current_time()
        for number in range(5):
            await ends.caller.send(bytes([number]))
        with anyio.move_on_after(0.1) as waited:
            await ends.server.receive()
        assert waited.cancelled_caught
        assert await read(ends.server, 5) == bytes(range(5))
        assert 0.2 <= anyio.current_time() - began_s < 0.4
        assert await took_s(ends) < 0.15


async def test_stalls_at_their_times_also_of_what_is_delayed() -> None:
    async with connected(Faults(delay_s=0.05, stalls=[(0.02, 0.1), (0.2, 0.1)])) as ends:
        began_s = anyio.current_time()
        await took_s(ends)
        assert 0.08 < anyio.current_time() - began_s < 0.19  # it would have come within the first stall
        await anyio.sleep_until(began_s + 0.17)
        await took_s(ends)
        assert 0.25 < anyio.current_time() - began_s < 0.6
        assert ends.told == [("delay", None), ("stall", 0.1), ("stall", 0.1)]


async def test_faults_that_are_added_leave_the_others_as_they_are() -> None:
    async with connected(Faults(delay_s=0.1)) as ends:
        ends.relay.disturb(Faults(stalls=[(5.0, 1.0)]))
        assert await took_s(ends) >= 0.1
        ends.relay.disturb(Faults(delay_s=0.0))
        assert await took_s(ends) < 0.1


async def test_what_is_on_its_way_is_not_passed_when_the_delay_ends() -> None:
    async with connected(Faults(delay_s=0.1)) as ends:
        await ends.caller.send(b"first")
        await anyio.sleep(0.02)  # it has reached the relay
        ends.relay.disturb(Faults(delay_s=0.0))
        await ends.caller.send(b"second")
        assert await read(ends.server, 11) == b"firstsecond"


async def test_a_slow_reader_is_felt_by_the_server() -> None:
    async with connected(Faults(slow_reader_bytes_s=20_000)) as ends:
        sent = 0
        with anyio.move_on_after(0.5) as limit:  # 500 KB would take 25 s
            for _ in range(500):
                await ends.server.send(bytes(1_000))
                sent += 1
        assert limit.cancelled_caught
        assert sent < 400
        began_s = anyio.current_time()
        await read(ends.caller, 20_000)
        assert anyio.current_time() - began_s > 0.3  # some of it had come already
        assert await took_s(ends, bytes(1_000)) < 0.15  # the other way is as quick as ever
        assert ends.told == [("slow reader", None)]


async def test_a_connection_that_drops_is_reset_on_both_sides() -> None:
    async with connected(Faults(drop_at_s=0.1)) as ends:
        assert await took_s(ends) < 0.1
        for end in (ends.caller, ends.server):
            with anyio.fail_after(2), pytest.raises(anyio.BrokenResourceError) as caught:
                await end.receive()
            assert isinstance(caught.value.__cause__, ConnectionResetError)
        assert ends.told == [("drop", None)]


async def test_a_drop_at_once() -> None:
    async with connected() as ends:
        ends.relay.disturb(Faults(drop_at_s=0))
        with anyio.fail_after(2), pytest.raises(anyio.BrokenResourceError):
            await ends.server.receive()


async def test_a_reset_of_one_side_is_one_of_the_other() -> None:
    async with connected() as ends:
        raw: socket.socket = ends.server.extra(anyio.abc.SocketAttribute.raw_socket)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        await ends.caller.send(b"unread")  # so that closing it is a reset on every system
        with anyio.fail_after(2):
            await anyio.aclose_forcefully(ends.server)
            with pytest.raises((anyio.BrokenResourceError, anyio.EndOfStream)):
                await ends.caller.receive()


async def test_a_peer_that_has_gone_without_a_word_is_silent() -> None:
    async with connected(Faults(half_open_at_s=0.1)) as ends:
        assert await took_s(ends) < 0.1
        await anyio.sleep(0.15)
        await ends.caller.send(b"is anybody there?")
        await ends.server.send(b"is anybody there?")
        await ends.caller.send_eof()
        for end in (ends.caller, ends.server):
            with anyio.move_on_after(0.1) as waited:
                await end.receive()
            assert waited.cancelled_caught
        assert ends.told == [("half open", None)]


async def test_what_is_delayed_is_bounded() -> None:
    async with connected(Faults(delay_s=30)) as ends:
        sent = 0
        with anyio.move_on_after(1.0) as limit:
            for _ in range(1_000):
                await ends.caller.send(bytes(65_536))
                sent += 1
        assert limit.cancelled_caught
        assert sent < 500  # the sockets hold some megabytes, the relay one


async def test_where_nobody_listens_the_caller_is_reset_and_the_relay_knows_why() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with disturbed("127.0.0.1", port) as relay:
        async with await anyio.connect_tcp("127.0.0.1", relay.port) as caller:
            with anyio.fail_after(2), pytest.raises((anyio.BrokenResourceError, anyio.EndOfStream)):
                await caller.receive()
        assert isinstance(relay.error, ConnectionRefusedError)


async def test_an_error_in_the_block_comes_out_as_it_is() -> None:
    async def fail() -> None:
        async with disturbed("127.0.0.1", 1) as relay:
            relay.disturb(Faults(stalls=[(10.0, 1.0)]))
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        await fail()


async def test_leaving_the_block_closes_everything() -> None:
    async with listening() as (port, connections):
        async with disturbed("127.0.0.1", port, Faults(stalls=[(0.0, 60.0)])) as relay:
            caller = await anyio.connect_tcp("127.0.0.1", relay.port)
            server = await connections.receive()
        for end in (caller, server):
            with anyio.fail_after(2), pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                await end.receive()
        await caller.aclose()
        with pytest.raises(OSError, match=r".+"):
            await anyio.connect_tcp("127.0.0.1", relay.port)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"delay_s": -1}, "delay_s must be 0 or more seconds, not -1"),
        ({"delay_s": "1"}, "delay_s must be"),
        ({"jitter_s": float("nan")}, "jitter_s must be"),
        ({"drop_at_s": float("inf")}, "drop_at_s must be"),
        ({"half_open_at_s": True}, "half_open_at_s must be"),
        ({"slow_reader_bytes_s": 0}, "slow_reader_bytes_s must be 1 or more bytes a second, not 0"),
        ({"stalls": [(1.0,)]}, "stalls must be pairs of seconds"),
        ({"stalls": [(1.0, -2.0)]}, "stalls must be pairs of seconds"),
        ({"stalls": [3.0]}, "stalls must be pairs of seconds"),
        ({"stalls": 3.0}, "stalls must be pairs of seconds"),
        ({"seed": 1.5}, "seed must be an integer"),
    ],
)
async def test_a_wrong_value_is_refused_by_name(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(AudioConnectorConfigError, match=told):
        Faults(**wrong)
