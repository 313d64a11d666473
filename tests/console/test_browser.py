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

pytestmark = [needs_browser, pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(120)]

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
SPEAKS = FOLDER / "librivox-2.wav"

FAILING = """
def on_connect(client):
    client.send_json_packet({"event": "caption", "text": "Good day!"})
    raise LookupError("on purpose")
"""

ONLY_ITS_OWN_RATE = """
const connect = AudioContext.prototype.createMediaStreamSource;
const own = new AudioContext().sampleRate;
AudioContext.prototype.createMediaStreamSource = function (stream) {
  if (this.sampleRate !== own) throw new DOMException("as in Firefox", "NotSupportedError");
  return connect.call(this, stream);
};
"""


@contextmanager
def talking(program: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The link that `talk` prints for a program, and its process."""
    command = [sys.executable, "-m", "vonage_audio_connector_server", "talk", program, "--no-open", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stdout is not None
            yield server.stdout.readline().partition(" at ")[2].strip(), server
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def link() -> Iterator[str]:
    """The link of a console before the parrot."""
    with talking(f"{EXAMPLES / 'parrot.py'}:on_connect") as (link, _):
        yield link


@contextmanager
def browsing(
    address: str, *, allows: bool = True, expects: str = "", script: str = "", **options: Any
) -> Iterator[Page]:
    """A page with a microphone; it must neither fail nor ask another host for anything.

    Args:
        address: of the page.
        allows: the user lets it have the microphone.
        expects: what the browser may say of the network in its own console.
        script: runs before those of the page.
        options: of playwright's context.
    """
    from playwright.sync_api import sync_playwright

    microphone = [
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream" if allows else "--deny-permission-prompts",
        "--autoplay-policy=no-user-gesture-required",
        f"--use-file-for-fake-audio-capture={SPEAKS}%noloop",
    ]
    wrong: list[str] = []
    host = address.split("/")[2]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS + microphone)
        try:
            context = browser.new_context(**({"viewport": {"width": 1280, "height": 1000}} | options))
            context.on("weberror", lambda error: wrong.append(str(error.error)))
            context.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
            context.on("request", lambda request: wrong.append(request.url) if host not in request.url else None)
            if script:
                context.add_init_script(script)
            page = context.new_page()
            page.on("websocket", lambda one: wrong.append(one.url) if host not in one.url else None)
            page.goto(address)
            yield page
        finally:
            browser.close()
    assert [one for one in wrong if not one.startswith("data:") and not (expects and expects in one)] == []


def figures(page: Page) -> dict[str, Any]:
    found: dict[str, Any] = page.evaluate("__console")
    return found


def until(page: Page, holds: str) -> None:
    """Wait; playwright's own way is a script that the page's policy forbids."""
    until_s = time.monotonic() + 15
    while not page.evaluate(holds):
        assert time.monotonic() < until_s, holds
        page.wait_for_timeout(50)


def call(page: Page) -> None:
    page.click("#call")
    page.wait_for_selector("#state[data-state=open]", timeout=15_000)


def frames_a_second(page: Page) -> tuple[float, float]:
    """Up and down, the mean over the seconds of the call without its first, in which it was opened."""
    rates = figures(page)["rates"][1:]
    return sum(up for up, _ in rates) / len(rates), sum(down for _, down in rates) / len(rates)


def test_talking_to_the_parrot(link: str) -> None:
    with browsing(link) as page:
        assert "token" not in page.url
        call(page)
        page.wait_for_timeout(21_500)

        assert '"event":"websocket:connected"' in figures(page)["firstMessage"]
        assert page.get_by_text("websocket:connected").first.is_visible()
        up, down = frames_a_second(page)
        assert up >= 49
        assert down >= 49
        assert 0 < figures(page)["answers"][0] < 2
        assert page.locator("#calls tr").count() == 1

        page.click("#call")
        page.wait_for_selector("#state[data-state=ended]")
        with page.expect_download() as download:
            page.click("#recording")
        recording = download.value.path().read_bytes()
        with page.expect_download() as download:
            page.click("#events-file")
        assert "websocket:connected" in download.value.path().read_text("utf-8")
        with page.expect_popup() as popup:
            page.click("#report")
        popup.value.get_by_text("Answered after").first.wait_for()

    pcm = memoryview(recording[44:]).cast("h")
    said, heard = pcm[0::2].tobytes(), pcm[1::2].tobytes()
    frames = (memoryview(said[at : at + 640]).cast("h") for at in range(0, len(said), 640))
    first = next(index for index, frame in enumerate(frames) if max(map(abs, frame)) > 1000) * 640
    assert similarity(said[first : first + 3 * 32_000], heard) >= 0.95


def test_the_interrupt_button_silences_the_loudspeaker(link: str, tmp_path: Path) -> None:
    with browsing(link, color_scheme="dark") as page:
        page.select_option("#source", "librivox-1")
        call(page)
        page.wait_for_timeout(9_000)  # 7.1 s are said, and the parrot says them back
        page.click("#interrupt")
        until(page, "__console.interruptions.length && __console.silentAfterMs !== null")
        found = figures(page)
        take(page, "console", tmp_path)

    assert 0 < found["silentAfterMs"] <= 300
    assert 0 < found["interruptions"][0]["silent_after_s"] <= 0.2
    assert found["interruptions"][0]["heard_s"] > 0.5


def test_it_is_usable_by_keyboard_alone_and_on_a_phone(link: str) -> None:
    with browsing(link, viewport={"width": 360, "height": 800}) as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "call"
        page.keyboard.press("Enter")
        page.wait_for_selector("#state[data-state=open]", timeout=15_000)
        for key in ("5", "m", "i"):
            page.keyboard.press(key)
        page.wait_for_selector("#mute[aria-pressed=true]")
        page.get_by_text("websocket:dtmf").first.wait_for()
        page.get_by_text("websocket:media:update").first.wait_for()
        page.keyboard.press("c")
        page.wait_for_selector("#state[data-state=ended]")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_without_a_microphone_a_recording_speaks(link: str) -> None:
    with browsing(link, allows=False) as page:
        call(page)
        assert "microphone can’t be used" in page.inner_text("#alert")
        page.select_option("#source", "go-forward-ten-meters")
        until(page, "__console.answers.length")
        assert figures(page)["sent"] == 0


def test_a_browser_that_takes_a_microphone_at_its_own_rate_alone(link: str) -> None:
    with browsing(link, script=ONLY_ITS_OWN_RATE) as page:
        call(page)
        until(page, "__console.answers.length")
        assert frames_a_second(page)[0] >= 48
        assert page.is_hidden("#alert")


def test_a_program_that_fails_and_a_server_that_goes_are_told(tmp_path: Path) -> None:
    (tmp_path / "failing.py").write_text(FAILING)
    program = f"{tmp_path / 'failing.py'}:on_connect"
    with talking(program) as (link, server), browsing(link, expects="ERR_CONNECTION_REFUSED") as page:
        page.click("#call")
        page.wait_for_selector("#state[data-state=failed]")
        assert "its traceback is in the events" in page.inner_text("#alert")
        assert "Good day!" in page.inner_text("#captions")
        assert "LookupError: on purpose" in page.inner_text("#events")
        server.terminate()
        server.wait()
        page.wait_for_selector("#state[data-state=away]")
        page.click("#call")
        page.wait_for_selector("#state[data-state=failed]")
        assert "The server is away" in page.inner_text("#alert")


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
