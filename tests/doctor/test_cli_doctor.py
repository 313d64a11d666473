"""The command `doctor`: what it prints, its exit codes, and the limits as they are."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import anyio
import pytest
from starlette.types import Receive, Scope, Send
from test_cli import run

from vonage_audio_connector_server.doctor import NAMES, examine

from .examining import HEADERS, QUERY, SECRET, Certificates, assert_no_secret, statuses
from .proxies import PAGE, free_port, haproxy, needs
from .test_broken import behind_haproxy


def in_one_line(text: str) -> str:
    return " ".join(text.split())


Serve = Callable[..., int]
CALL_ID = f"call_id={HEADERS['call_id']}"


def test_the_page_explains_each_line() -> None:
    page = PAGE.with_name("doctor.md").read_text()
    table = page[page.index("## The lines") : page.index("### No WebSocket")]
    assert re.findall(r"^\| `([a-z ]+)` \|", table, re.MULTILINE) == list(NAMES)
    assert re.findall(r"^[✓✗!–]  ([a-z ]{13}) ", page, re.MULTILINE) == [name.ljust(13) for name in NAMES]


@pytest.mark.usefixtures("_short")
def test_it_prints_a_line_for_each_check(backend: int) -> None:
    code, out, error = run("doctor", f"ws://127.0.0.1:{backend}/vonage{QUERY}", "--header", CALL_ID)

    assert (code, error) == (0, "")
    told = in_one_line(out)
    for name in NAMES:
        assert f" {name} " in told
    assert f"ws://127.0.0.1:{backend}/vonage?secret=***: 13 passed, 0 failed, 2 warnings, 3 skipped" in told
    assert_no_secret(out)


@pytest.mark.usefixtures("_short")
def test_it_prints_json(backend: int) -> None:
    url = f"ws://127.0.0.1:{backend}/vonage{QUERY}"
    code, out, error = run("doctor", url, "--header", CALL_ID, "--rate", 8000, "--json")

    assert (code, error) == (0, "")
    told = json.loads(out)
    assert (told["ok"], told["url"]) == (True, f"ws://127.0.0.1:{backend}/vonage?secret=***")
    assert [line["name"] for line in told["lines"]] == list(NAMES)
    numbers = {line["name"]: line["numbers"] for line in told["lines"]}
    assert 15 <= numbers["audio in"]["interval_p50_ms"] <= 25
    assert_no_secret(out)


def test_what_has_failed_is_exit_code_1(backend: int) -> None:
    code, out, error = run("doctor", f"ws://127.0.0.1:{backend}/vonage?secret=abcdefghijklmnop")

    assert (code, error) == (1, "")
    assert "authorize said no (HTTP 403)" in in_one_line(out)
    assert "abcdefghijklmnop" not in out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((f"https://bot.example.com/{QUERY}",), "url must begin with ws:// or wss://: https://bot.example.com/?secret"),
        ((f"ws:///{QUERY}",), "can't be used"),
        (("ws://127.0.0.1/", "--rate", 11025), "rate_hz must be"),
        (("ws://127.0.0.1/", "--header", CALL_ID[:-1] + "\n"), "the value of call_id must be one line"),
        (("ws://127.0.0.1/", "--header", "novalue"), "NAME=VALUE"),
        (("ws://127.0.0.1/", "--cafile", "ca.pem"), "wss://"),
        (("wss://127.0.0.1/", "--cafile", "there-is-none.pem"), "can't be read"),
    ],
)
def test_what_can_not_be_carried_out_is_exit_code_2(arguments: tuple[object, ...], told: str) -> None:
    code, out, error = run("doctor", *arguments)

    assert (code, out) == (2, "")
    assert told in in_one_line(error)
    assert SECRET not in error
    assert HEADERS["call_id"][:-1] not in error


@pytest.mark.usefixtures("_short")
def test_it_runs_on_trio(open_backend: int) -> None:
    url = f"ws://127.0.0.1:{open_backend}/vonage"
    diagnosis = anyio.run(partial(examine, url, idle_s=1), backend="trio")

    assert statuses(diagnosis, "failed") == set(), diagnosis
    assert diagnosis["audio in"].status == diagnosis["idle"].status == "passed"


@pytest.mark.slow
@needs("haproxy")
def test_an_idle_limit_of_5_s(tmp_path: Path, open_backend: int, certificates: Certificates) -> None:
    port = free_port()
    bind = f"ssl crt {certificates.issue()}"
    with haproxy(tmp_path, behind_haproxy(port, open_backend, timeout="5s", bind=bind), port):
        url = f"wss://127.0.0.1:{port}/vonage"
        code, out, _ = run("doctor", url, "--cafile", certificates.cafile, "--idle", 8)

    assert code == 1
    assert "after 5." in in_one_line(out)
    assert "raise the idle limit" in in_one_line(out)


@pytest.mark.slow
@pytest.mark.usefixtures("_short")
def test_an_accept_that_takes_longer_than_the_router_waits(serve: Serve) -> None:
    took_s = [6.2]

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await anyio.sleep(took_s.pop() if took_s else 0)
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass

    url = f"ws://127.0.0.1:{serve(slow, lifespan='off')}/"
    diagnosis = anyio.run(examine, url)

    assert statuses(diagnosis, "failed") == {"accept"}
    assert "not up within 6 s: it took 6.2 s" in diagnosis["accept"].text
