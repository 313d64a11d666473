"""nginx, Caddy and HAProxy as they are, each a process of a test on loopback; and a small proxy that misbehaves."""

from __future__ import annotations

import random
import re
import select
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

PAGE = Path(__file__).parent.parent.parent / "docs" / "deployment.md"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
START_S = 10.0


def needs(program: str) -> pytest.MarkDecorator:
    """Skips a test where a program is missing."""
    return pytest.mark.skipif(
        shutil.which(program, path=PATH) is None, reason=f"{program} is not installed: apt-get install {program}"
    )


def free_port() -> int:
    """A port that nobody gets by asking for any: those are taken again before the program has it."""
    while True:
        port = random.randrange(20_000, 32_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def shown(title: str) -> str:
    """The configuration that the page shows under a title."""
    (text,) = re.findall(rf'^```\w+ title="{re.escape(title)}"\n(.*?)^```$', PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return str(text)


def replaced(text: str, **values: str) -> str:
    """A configuration with other places in it; each must be in there."""
    for old, new in values.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


@contextmanager
def running(command: list[str], folder: Path, port: int, env: dict[str, str] | None = None) -> Iterator[None]:
    """A program that listens on a port."""
    log = folder / "output.log"
    with log.open("wb") as output:
        env = {"PATH": PATH} | (env or {})
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output, env=env)
        try:
            until_s = time.monotonic() + START_S
            while not _listens(port):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < until_s, log.read_text()
                time.sleep(0.02)
            yield
        finally:
            process.kill()
            process.wait()


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@contextmanager
def nginx(folder: Path, servers: str, port: int) -> Iterator[None]:
    """nginx with these `server` blocks."""
    temp = "".join(
        f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = folder / "nginx.conf"
    config.write_text(
        f"daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;\n"
        f"events {{ }}\nhttp {{ access_log off; {temp}\n{servers}\n}}\n"
    )
    with running(["nginx", "-p", str(folder), "-e", f"{folder}/error.log", "-c", str(config)], folder, port):
        yield


@contextmanager
def caddy(folder: Path, site: str, port: int) -> Iterator[Path]:
    """Caddy with this file, with an authority of its own, whose certificate is yielded."""
    config = folder / "Caddyfile"
    options = f"admin off\nskip_install_trust\nauto_https disable_redirects\nhttp_port {free_port()}\n"
    config.write_text(f"{{\n{options}}}\n{site}")
    env = {"HOME": str(folder), "XDG_DATA_HOME": str(folder / "data"), "XDG_CONFIG_HOME": str(folder / "config")}
    command = ["caddy", "run", "--config", str(config), "--adapter", "caddyfile"]
    with running(command, folder, port, env):
        if site.startswith("https://"):
            wait_for_certificate(port)
        yield folder / "data" / "caddy" / "pki" / "authorities" / "local" / "root.crt"


def wait_for_certificate(port: int) -> None:
    """Caddy listens before it has made one."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    until_s = time.monotonic() + START_S
    while True:
        with socket.create_connection(("127.0.0.1", port), 1) as raw:
            try:
                context.wrap_socket(raw, server_hostname="127.0.0.1").close()
            except OSError:
                assert time.monotonic() < until_s
                time.sleep(0.02)
            else:
                return


@contextmanager
def haproxy(folder: Path, config: str, port: int) -> Iterator[None]:
    """HAProxy with this configuration."""
    file = folder / "haproxy.cfg"
    file.write_text(config)
    with running(["haproxy", "-db", "-f", str(file)], folder, port):
        yield


Pass = Callable[[socket.socket, socket.socket], None]


@contextmanager
def misbehaving(upstream: int, to_server: Pass, to_client: Pass) -> Iterator[int]:
    """A proxy whose two directions pass on bytes as these functions do, until their sockets are closed."""
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []
    sockets: list[socket.socket] = []

    def guarded(passes: Pass, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            passes(source, sink)
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", upstream))
                sockets.extend((client, server))
                for arguments in ((to_server, client, server), (to_client, server, client)):
                    threads.append(threading.Thread(target=guarded, args=arguments))
                    threads[-1].start()

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join()
        for one in sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()
        for one in sockets:
            one.close()


def at_once(source: socket.socket, sink: socket.socket) -> None:
    """Pass on as it comes."""
    while data := source.recv(65_536):
        sink.sendall(data)


def saved_up(seconds: float) -> Pass:
    """Pass on the handshake, and then what has come, so often only."""

    def passes(source: socket.socket, sink: socket.socket) -> None:
        sink.sendall(source.recv(65_536))
        while True:
            until_s = time.monotonic() + seconds
            saved = b""
            while (left_s := until_s - time.monotonic()) > 0:
                if not select.select([source], [], [], left_s)[0]:
                    break
                data = source.recv(65_536)
                if not data:
                    sink.sendall(saved)
                    return
                saved += data
            sink.sendall(saved)

    return passes


def handshake_alone(source: socket.socket, sink: socket.socket) -> None:
    """Pass on the handshake, and nothing behind it."""
    sink.sendall(source.recv(65_536))
    while source.recv(65_536):
        pass


def until_close(source: socket.socket, sink: socket.socket) -> None:
    """Pass on as it comes; at the server's close frame, close without it."""
    while data := source.recv(65_536):
        if data[:1] == b"\x88":
            return
        sink.sendall(data)
