"""A bad network: a TCP relay on this machine that forwards bytes, untouched, between a caller and a server.

It runs on asyncio and trio. Times are those of `anyio.current_time`.
"""

from __future__ import annotations

import random
import socket
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

import anyio
import anyio.abc

from .faults import Faults
from .sockets import connect, prepare, receive, reset_on_close, send

__all__ = ["Faults", "OnFault", "Relay", "disturbed"]

OnFault = Callable[[str, float | None], None]
"""Called when a fault begins, with its name and how long it lasts; None: to the end. It must be quick."""

_CHUNK_BYTES = 65_536
_DELAYED_BYTES = 1_048_576  # that are on their way at the most, each way; beyond it the sender has to wait
_SLOW_READ_S = 0.02  # a slow reader reads what it may in so long at once


@asynccontextmanager
async def disturbed(
    host: str, port: int, faults: Faults | None = None, *, on_fault: OnFault | None = None
) -> AsyncIterator[Relay]:
    """Relay to a server over a bad network, until the block is left; that ends its connections.

    Args:
        host: of the server.
        port: of the server.
        faults: what is wrong, from the first connection on. None: nothing, until `Relay.disturb`.
        on_fault: called when a fault begins.

    Raises:
        OSError: no port is free.
    """
    failed: Exception | None = None
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        async with anyio.create_task_group() as tasks:
            relay = Relay(host, port, listener.getsockname()[1], faults, on_fault, tasks)
            tasks.start_soon(relay.serve, listener)
            try:
                yield relay
            except Exception as exc:  # noqa: BLE001 (raised below: the task group would make a group of it)
                failed = exc
            tasks.cancel_scope.cancel()
    if failed is not None:
        try:
            raise failed
        finally:
            del failed  # its traceback holds this frame


class Relay:
    """A relay that listens on this machine; `disturbed` makes one.

    Attributes:
        port: where, on 127.0.0.1.
        error: why the server could not be reached the last time. The caller's connection was reset then.
    """

    def __init__(
        self,
        host: str,
        port: int,
        listening_port: int,
        faults: Faults | None,
        on_fault: OnFault | None,
        tasks: anyio.abc.TaskGroup,
    ) -> None:
        self.port = listening_port
        self.error: OSError | None = None
        self._host, self._server_port = host, port
        self._first = faults  # that begin with the first connection
        self._on_fault = on_fault
        self._tasks = tasks
        self._links: set[_Link] = set()
        self._network = _Network()

    def disturb(self, faults: Faults) -> None:
        """Let more be wrong from now on; the moments of `faults` are counted from now."""
        network = self._network
        if faults.delay_s is not None:
            network.delay_s = faults.delay_s
            self._tell("delay")
        if faults.jitter_s is not None:
            network.jitter_s, network.seed = faults.jitter_s, faults.seed
            self._tell("jitter")
        if faults.slow_reader_bytes_s is not None:
            network.reader_bytes_s = faults.slow_reader_bytes_s
            self._tell("slow reader")
        for at_s, for_s in faults.stalls:
            self._at(at_s, partial(self._stall, for_s))
        if faults.half_open_at_s is not None:
            self._at(faults.half_open_at_s, self._half_open)
        if faults.drop_at_s is not None:
            self._at(faults.drop_at_s, self._drop)

    async def serve(self, listener: socket.socket) -> None:
        """Take connections; `disturbed` runs it."""
        while True:
            await anyio.wait_readable(listener)
            with suppress(BlockingIOError, ConnectionError):  # it has gone already
                caller, _ = listener.accept()
                self._tasks.start_soon(self._relay, caller)

    async def _relay(self, caller: socket.socket) -> None:
        with caller:
            prepare(caller)
            try:
                server = await connect(self._host, self._server_port)
            except OSError as exc:
                self.error = exc
                reset_on_close(caller)
                return
            with server:
                link = _Link(caller, server, self._network)
                self._links.add(link)
                try:
                    first, self._first = self._first, None
                    if first is not None:
                        self.disturb(first)
                    await link.run()
                finally:
                    self._links.discard(link)

    def _at(self, at_s: float, begin: Callable[[], None]) -> None:
        if at_s:
            self._tasks.start_soon(self._later, anyio.current_time() + at_s, begin)
        else:
            begin()

    async def _later(self, at_s: float, begin: Callable[[], None]) -> None:
        await anyio.sleep_until(at_s)
        begin()

    def _stall(self, for_s: float) -> None:
        self._network.held_until_s = max(self._network.held_until_s, anyio.current_time() + for_s)
        self._tell("stall", for_s)

    def _half_open(self) -> None:
        self._network.held_until_s = float("inf")
        self._tell("half open")

    def _drop(self) -> None:
        for link in self._links:
            link.reset()
        self._tell("drop")

    def _tell(self, name: str, for_s: float | None = None) -> None:
        if self._on_fault is not None:
            self._on_fault(name, for_s)


class _Network:
    """What is wrong with the network now."""

    def __init__(self) -> None:
        self.delay_s = 0.0
        self.jitter_s = 0.0
        self.seed = 0
        self.held_until_s = 0.0  # nothing is forwarded before
        self.reader_bytes_s: float | None = None

    async def let_pass(self) -> None:
        """Wait while nothing is forwarded."""
        while anyio.current_time() < self.held_until_s:  # noqa: ASYNC110 (until then, unless it is put off meanwhile)
            await anyio.sleep_until(self.held_until_s)


class _Link:
    """One connection through the relay."""

    def __init__(self, caller: socket.socket, server: socket.socket, network: _Network) -> None:
        self._sockets = caller, server
        self._pipes = _Pipe(caller, server, network), _Pipe(server, caller, network, from_server=True)
        self._scope = anyio.CancelScope()

    async def run(self) -> None:
        """Forward until both sides have ended, or one of them is reset."""
        with self._scope:
            async with anyio.create_task_group() as tasks:
                for pipe in self._pipes:
                    tasks.start_soon(self._forward, pipe)

    def reset(self) -> None:
        """End both sides by a reset; whoever runs it closes them."""
        for one in self._sockets:
            reset_on_close(one)
        self._scope.cancel()

    async def _forward(self, pipe: _Pipe) -> None:
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(pipe.write)
                await pipe.read()
        except* OSError:  # one side was reset, so the other one is
            self.reset()


class _Pipe:
    """One direction of a connection."""

    def __init__(
        self, source: socket.socket, target: socket.socket, network: _Network, *, from_server: bool = False
    ) -> None:
        self._source, self._target, self._network = source, target, network
        self._from_server = from_server
        self._delayed: deque[tuple[float, bytes]] = deque()  # when it is due, and what; empty: the end of all
        self._delayed_bytes = 0
        self._random: random.Random | None = None
        self._changed = anyio.Event()  # something was delayed, or has been written

    async def read(self) -> None:
        """Read to the end, and pass on or delay what comes."""
        due_s = read_s = 0.0
        network = self._network
        while True:
            size_bytes = _CHUNK_BYTES
            if self._from_server and network.reader_bytes_s is not None:
                await anyio.sleep_until(read_s)
                size_bytes = max(1, int(network.reader_bytes_s * _SLOW_READ_S))
            data = await receive(self._source, size_bytes)
            now_s = anyio.current_time()
            if self._from_server and network.reader_bytes_s is not None:
                read_s = max(read_s, now_s) + len(data) / network.reader_bytes_s
            await network.let_pass()
            if data and not self._delayed and not network.delay_s and not network.jitter_s:
                await send(self._target, data)
                continue
            due_s = max(due_s, now_s + network.delay_s + self._jitter_s())
            self._delayed.append((due_s, data))
            self._delayed_bytes += len(data)
            self._wake()
            if not data:
                return
            while self._delayed_bytes > _DELAYED_BYTES:
                await self._changed.wait()

    async def write(self) -> None:
        """Pass on what was delayed, when it is due."""
        while True:
            while not self._delayed:
                await self._changed.wait()
            due_s, data = self._delayed[0]
            await anyio.sleep_until(due_s)
            await self._network.let_pass()
            if not data:
                with suppress(OSError):  # it has gone itself
                    self._target.shutdown(socket.SHUT_WR)
                return
            await send(self._target, data)
            self._delayed.popleft()  # until now nothing may pass it
            self._delayed_bytes -= len(data)
            self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    def _jitter_s(self) -> float:
        if not self._network.jitter_s:
            return 0.0
        if self._random is None:
            self._random = random.Random(2 * self._network.seed + self._from_server)
        return self._random.uniform(0, self._network.jitter_s)
