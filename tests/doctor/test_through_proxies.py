"""Through nginx, Caddy and HAProxy, with the very configurations of docs/deployment.md: nothing is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vonage_audio_connector_server.doctor import NAMES, Diagnosis

from .examining import HEADERS, QUERY, Certificates, assert_no_secret, examined, statuses, trusting
from .proxies import caddy, free_port, haproxy, needs, nginx, replaced, shown

pytestmark = [pytest.mark.usefixtures("_short"), pytest.mark.slow]

LETSENCRYPT = "/etc/letsencrypt/live/bot.example.com"


OF_A_BUSY_MACHINE = {"audio out", "audio in", "buffering", "ping"}


def look(port: int, cafile: Path) -> Diagnosis:
    """What doctor says, at a moment when this machine is quiet enough to judge."""
    url = f"wss://127.0.0.1:{port}/vonage{QUERY}"
    diagnosis = examined(url, headers=HEADERS, ssl_context=trusting(cafile), idle_s=1)
    for _ in range(2):
        if OF_A_BUSY_MACHINE & statuses(diagnosis, "warning"):
            diagnosis = examined(url, headers=HEADERS, ssl_context=trusting(cafile), idle_s=1)
    return diagnosis


def check(port: int, cafile: Path) -> Diagnosis:
    diagnosis = look(port, cafile)
    assert [line.name for line in diagnosis.lines] == list(NAMES)
    told = json.dumps(diagnosis.to_dict())
    assert statuses(diagnosis, "failed") == set(), told
    assert statuses(diagnosis, "warning") == {"address"}, told  # it is loopback
    assert statuses(diagnosis, "skipped") == {"texts"}, told  # an echo sends none
    assert diagnosis.ok
    assert_no_secret(told)
    return diagnosis


@needs("nginx")
def test_nginx(tmp_path: Path, backend: int, certificates: Certificates) -> None:
    port, pem = free_port(), str(certificates.issue())
    servers = replaced(
        shown("nginx"),
        **{
            "listen 443": f"listen 127.0.0.1:{port}",
            f"{LETSENCRYPT}/fullchain.pem": pem,
            f"{LETSENCRYPT}/privkey.pem": pem,
            "127.0.0.1:8000": f"127.0.0.1:{backend}",
        },
    )
    with nginx(tmp_path, servers, port):
        diagnosis = check(port, certificates.cafile)

    assert diagnosis["headers"].text == "all arrive as they were sent: 3 of the session and 1 of yours"
    assert diagnosis["certificate"].numbers["left_days"] == pytest.approx(90, abs=0.1)


@needs("caddy")
def test_caddy(tmp_path: Path, backend: int) -> None:
    port = free_port()
    site = replaced(
        shown("Caddyfile"),
        **{
            "bot.example.com": f"https://127.0.0.1:{port}",
            "127.0.0.1:8000": f"127.0.0.1:{backend}",
            "127.0.0.1:8001": f"localhost:{backend}",
        },
    )
    # Its own authority makes certificates of 12 hours.
    with caddy(tmp_path, site, port) as cafile:
        diagnosis = look(port, cafile)
    assert statuses(diagnosis, "failed") == set(), diagnosis.to_dict()
    assert statuses(diagnosis, "warning") == {"address", "certificate"}


@needs("haproxy")
def test_haproxy(tmp_path: Path, backend: int, certificates: Certificates) -> None:
    port = free_port()
    config = replaced(
        shown("haproxy.cfg"),
        **{
            "bind :443": f"bind 127.0.0.1:{port}",
            "/etc/haproxy/bot.example.com.pem": str(certificates.issue()),
            "127.0.0.1:8000": f"127.0.0.1:{backend}",
            "127.0.0.1:8001": f"127.0.0.1:{backend}",
        },
    )
    with haproxy(tmp_path, config, port):
        check(port, certificates.cafile)
