"""The console in a real browser, whose microphone speaks a recording: as somebody uses it who tries a program."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pictures import ARGUMENTS, CHROMIUM, needs_browser, take

from vonage_audio_connector_server.simulator.compare import similarity
from vonage_audio_connector_server.simulator.speech import FOLDER

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [needs_browser, pytest.mark.slow, pytest.mark.timeout(120)]

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
SPEAKS = FOLDER / "librivox-2.wav"

SERVER = """
import http.server, sys, threading
sys.path.insert(0, sys.argv[1])
from vonage_audio_connector_server.cli import main
sys.argv = ["vonage-audio-connector", "talk", sys.argv[2], "--no-open", "--port", "0"]
main()
"""


@pytest.fixture(scope="module")
def link() -> Iterator[str]:
    """The link that `talk` prints for the parrot."""
    command = [sys.executable, "-c", SERVER, str(EXAMPLES), f"{EXAMPLES / 'parrot.py'}:on_connect"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield server.stdout.readline().partition(" at ")[2].strip()
        finally:
            server.terminate()


@contextmanager
def browsing(address: str, **options: Any) -> Iterator[Page]:
    """A page with a microphone; it must neither fail nor ask another host for anything."""
    from playwright.sync_api import sync_playwright

    microphone = [
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        "--autoplay-policy=no-user-gesture-required",
        f"--use-file-for-fake-audio-capture={SPEAKS}%noloop",
    ]
    wrong: list[str] = []
    host = address.split("/")[2]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS + microphone)
        try:
            page = browser.new_page(**({"viewport": {"width": 1280, "height": 1000}} | options))
            page.on("pageerror", lambda error: wrong.append(str(error)))
            page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
            page.on("request", lambda request: wrong.append(request.url) if host not in request.url else None)
            page.on("websocket", lambda one: wrong.append(one.url) if host not in one.url else None)
            page.goto(address)
            yield page
        finally:
            browser.close()
    assert [one for one in wrong if not one.startswith(("blob:", "data:"))] == []


def figures(page: Page) -> dict[str, Any]:
    found: dict[str, Any] = page.evaluate("__console")
    return found


def open_call(page: Page) -> None:
    page.wait_for_selector("#state[data-state=open]", timeout=15_000)


def test_talking_to_the_parrot(link: str, tmp_path: Path) -> None:
    with browsing(link) as page:
        assert "token" not in page.url
        page.click("#call")
        open_call(page)
        page.wait_for_timeout(21_500)

        found = figures(page)
        assert '"event":"websocket:connected"' in found["firstMessage"]
        assert page.get_by_text("websocket:connected").first.is_visible()
        rates = found["rates"][:20]
        assert sum(up for up, _ in rates) / len(rates) >= 49
        assert sum(down for _, down in rates) / len(rates) >= 49
        assert float(page.inner_text("#answer").split()[0]) < 2
        assert "closed" not in page.inner_text("#calls")
        assert page.locator("#calls tr").count() == 1

        page.click("#call")
        page.wait_for_selector("#state[data-state=idle]")
        kept = page.get_attribute("#recording", "href")
        address = f"{page.url.partition('/console')[0]}{kept}"
        recording = page.request.get(address).body()
        assert page.request.get(address.replace("recording.wav", "report.html")).status == 200
    pcm = memoryview(recording[44:]).cast("h")
    said, heard = bytes(pcm[0::2].tobytes()), bytes(pcm[1::2].tobytes())
    first = next(
        at for at in range(0, len(said), 640) if max(map(abs, memoryview(said[at : at + 640]).cast("h"))) > 1000
    )
    assert similarity(said[first : first + 3 * 32_000], heard) >= 0.95


def test_the_interrupt_button_silences_the_loudspeaker(link: str, tmp_path: Path) -> None:
    with browsing(link, color_scheme="dark") as page:
        page.select_option("#source", "librivox-1")
        page.click("#call")
        open_call(page)
        page.wait_for_timeout(9_000)  # 7.1 s are said, and the parrot says them back
        page.click("#interrupt")
        page.wait_for_timeout(1_500)
        silent_after_ms = figures(page)["silentAfterMs"]
        take(page, "console", tmp_path)
        page.click("#call")

    assert silent_after_ms is not None
    assert 0 < silent_after_ms <= 300


def test_it_is_usable_by_keyboard_alone_and_on_a_phone(link: str, tmp_path: Path) -> None:
    with browsing(link, viewport={"width": 360, "height": 800}) as page:
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "call"
        page.keyboard.press("Enter")
        open_call(page)
        for key in ("5", "m", "i"):
            page.keyboard.press(key)
        page.wait_for_selector("#mute[aria-pressed=true]")
        page.get_by_text("websocket:dtmf").first.wait_for()
        page.get_by_text("websocket:media:update").first.wait_for()
        take(page, "console-phone", tmp_path)
        page.keyboard.press("c")
        page.wait_for_selector("#state[data-state=idle]")


def test_a_page_of_another_origin_is_refused(link: str, tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    talk = link.replace("http", "ws", 1).replace("/console?", "/console/talk?")
    (tmp_path / "evil.html").write_text(
        f"<script>const s = new WebSocket('{talk}'); s.onopen = () => document.title = 'in';"
        "s.onerror = () => document.title = 'refused'</script>"
    )
    other = subprocess.Popen(
        [sys.executable, "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={"PYTHONUNBUFFERED": "1"},
    )
    try:
        assert other.stdout is not None
        port = int(other.stdout.readline().split(" port ")[1].split()[0])
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
            try:
                page = browser.new_page()
                page.goto(link)  # the cookie is there
                page.goto(f"http://127.0.0.1:{port}/evil.html")
                until_s = time.monotonic() + 10
                while page.title() == "" and time.monotonic() < until_s:
                    page.wait_for_timeout(50)
                assert page.title() == "refused"
            finally:
                browser.close()
    finally:
        other.terminate()
        other.wait()
        if other.stdout is not None:
            other.stdout.close()
