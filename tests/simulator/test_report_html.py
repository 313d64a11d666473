import itertools
import json
import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from vonage_audio_connector_server.errors import MissingExtraError
from vonage_audio_connector_server.recording import Kind, Recording
from vonage_audio_connector_server.simulator.report import Timeline, render_html, report_of, write_html
from vonage_audio_connector_server.simulator.report.picture import _thinned, envelope, picture_of
from vonage_audio_connector_server.simulator.report.strip import strip_of

from .recorded import Call, eventful, many, speech

EVIL = "<script>window.pwned = 1</script><img src=x onerror='window.pwned = 2'>\"'></pre></script>{{ 7 * 7 }}"


class Page(HTMLParser):
    """What stands in a page: its elements, and the texts of its scripts and of everything else."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.words = ""
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag if tag in ("script", "style") else ""
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif not self._inside:
            self.words += data

    def all(self, tag: str, name: str = "") -> list[dict[str, str | None]]:
        """The attributes of all elements with this tag, and this class."""
        return [
            attributes
            for element, attributes in self.elements
            if element == tag and (not name or name in (attributes.get("class") or "").split())
        ]


def evil() -> Recording:
    """A call in which everything that somebody else writes is an attempt to run a script."""
    call = Call(5.0)
    call.recording.meta["connection_id"] = EVIL
    first = {"content-type": "audio/l16;rate=16000", "event": "websocket:connected", EVIL: EVIL}
    call.text_to_server(0.06, json.dumps(first))
    call.text_to_server(0.5, json.dumps({"event": EVIL}))
    call.text_from_server(0.6, EVIL)
    call.says(0.7, speech()[: 640 * 30], name=EVIL)
    call.answers(2.0, speech(), stall=(0.5, 0.3))
    call.recording.note(2.6, "gap", cause=EVIL, since_s=2.5, until_s=2.8)
    call.recording.note(2.5, "fault", fault=EVIL, for_s=0.5)
    call.recording.note(3.0, "log", level=EVIL, text=EVIL)
    call.recording.note(3.1, EVIL, evil=EVIL)
    call.recording.note(3.2, "error", text=EVIL)
    return call.done(code=4000, reason=EVIL, by="program")


def test_one_call_is_all_on_the_page() -> None:
    recording = eventful()

    page = Page(render_html([recording], title="The title"))

    report = report_of(recording)
    assert report.sentence in page.words
    for verdict in report.verdicts:
        assert verdict.text in page.words
    assert "The title" in page.words
    assert '"words": [' in page.words  # the text of the server, readable
    assert "the handler took 0.3 s" in page.words
    assert len(page.all("div", "plot")) == 1
    (audio,) = page.all("audio")
    assert (audio["src"] or "").startswith("data:audio/wav;base64,UklGR")


def test_the_picture_has_the_gaps_with_their_causes_where_they_are() -> None:
    timeline = Timeline.of(eventful())

    figure = picture_of(timeline, 1000)

    marks = figure["data"][-1]
    assert marks["text"] == [
        "gap of 400 ms at 5.62 s: network: stall, on purpose",
        "gap of 260 ms at 11.02 s: producer late",
    ]
    assert marks["x"] == [5.82, 11.15]
    bands = [
        (shape["x0"], shape["x1"]) for shape in figure["layout"]["shapes"] if shape.get("fillcolor") == "$gap-fill"
    ]
    assert bands == [(5.62, 6.02), (11.02, 11.28)]
    words = [label["text"] for label in figure["layout"]["annotations"]]
    for word in ("260 ms, producer late", "silent after 0.14 s", "0.62 s", "question.wav", "stall", "muted"):
        assert word in words
    assert {trace["yaxis"] for trace in figure["data"]} == {"y", "y2", "y3", "y4"}
    assert figure["layout"]["xaxis"]["range"] == [0.0, 17.0]
    json.dumps(figure, allow_nan=False)


def test_labels_do_not_lie_over_each_other() -> None:
    call = Call(60.0)
    for index in range(200):
        call.answers(1.0 + index * 0.25, speech()[: 640 * 10])
    figure = picture_of(Timeline.of(call.done()), 1000)

    labels = [label for label in figure["layout"]["annotations"] if label["font"]["color"] == "$gap"]
    assert 1 < len(labels) <= 14
    width_s = 0.007 * 60.0  # of a character, on a laptop
    spans = sorted(
        (one["x"] - len(one["text"]) * width_s / 2, one["x"] + len(one["text"]) * width_s / 2) for one in labels
    )
    assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(spans))


def test_many_points_are_thinned_without_losing_an_edge() -> None:
    points = [(index / 100, float(index // 1000 % 2)) for index in range(10_000)]
    points[4567] = (45.67, 7.0)

    thinned = _thinned(points, 400)

    assert len(thinned) <= 400
    assert thinned == sorted(thinned)
    assert (45.67, 7.0) in thinned
    assert {points[0], points[-1]} <= set(thinned)
    assert _thinned(points[:100], 50) == points[:100]


def test_an_envelope_keeps_the_peaks() -> None:
    low, high = envelope(b"\0\0" * 1000 + b"\0\x40" + b"\0\xc0" + b"\0\0" * 1000, 10)

    assert len(low) == len(high) == 10
    assert (low.min(), high.max()) == (-0.5, 0.5)
    assert len(envelope(b"", 10)[0]) == 0


def test_a_strip_has_a_red_band_for_each_gap() -> None:
    strip = strip_of(Timeline.of(eventful()))

    assert strip.count('class="gap"') == 2
    assert strip.count('class="interruption"') == 1
    assert strip_of(Timeline.of(Recording())).startswith("<svg")


def test_many_calls_are_a_table_with_problems_first() -> None:
    recordings = many(20)

    page = Page(render_html(recordings, title="Twenty"))

    assert "15 of 20 calls kept every rule." in page.words
    assert len(page.all("details", "call")) == len(page.all("svg", "strip")) == len(page.all("div", "plot")) == 20
    names = [attributes["title"] for attributes in page.all("span", "name")]
    assert set(names[:5]) == {"stream-4", "stream-5", "stream-11", "stream-14", "stream-18"}
    assert len(page.all("audio")) == 8  # the sound of all would be too much for a file
    figures = json.loads(page.scripts[0])
    assert set(figures) == {f"call-{number}" for number in range(1, 21)}


def test_a_file_of_many_stays_small() -> None:
    assert len(render_html(many(50))) < 20_000_000


def test_nothing_in_it_comes_from_the_network(tmp_path: Path) -> None:
    for recordings in ([eventful()], many(3)):
        write_html(tmp_path / "report.html", recordings)
        text = (tmp_path / "report.html").read_text(encoding="utf-8")
        page = Page(text)

        for tag, attributes in page.elements:
            for name in ("src", "href", "data", "action", "poster", "srcset"):
                assert (attributes.get(name) or "data:").startswith("data:"), (tag, attributes)
        assert page.all("link") == page.all("iframe") == page.all("object") == []
        (policy,) = (one for one in page.all("meta") if one.get("http-equiv") == "Content-Security-Policy")
        assert (policy["content"] or "").startswith("default-src 'none'")
        (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
        assert "url(" not in style
        assert "@import" not in style


def test_what_others_wrote_is_shown_and_not_run() -> None:
    for recordings in ([evil()], [evil(), evil()]):
        page = Page(render_html(recordings, title=EVIL))

        assert len(page.scripts) == 3  # the figures, plotly, and ours
        assert page.all("img") == []
        assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
        assert page.words.count(EVIL) >= 5
        assert "49" not in page.words.replace("0.49", "")
        figures = json.loads(page.scripts[0])
        assert "<" not in page.scripts[0]
        texts = [label["text"] for label in figures["call-1"]["layout"]["annotations"]]
        assert not any("<script" in text or "<img" in text for text in texts)


def test_an_empty_recording_and_none_at_all() -> None:
    assert "Nobody answered" in Page(render_html([Recording()])).words
    assert "0 of 0 calls" in Page(render_html([])).words


def test_a_server_says_what_it_can_not_know() -> None:
    call = Call(3.0, seen_by="server")
    call.answers(0.5, speech())

    assert "The server recorded this" in Page(render_html([call.done(by="session")])).words


def test_an_hour_of_events_is_cut() -> None:
    call = Call(2.0)
    for index in range(1000):
        call.recording.add(1.0 + index / 1000, Kind.TEXT_FROM_SERVER, b'{"partial":"%s"}' % (b"word " * 1000))

    text = render_html([call.done()])

    assert "and 602 more" in Page(text).words
    assert len(text) < 8_000_000


@pytest.mark.parametrize("missing", ["jinja2", "plotly.offline", "numpy"])
def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.setitem(sys.modules, missing, None)

    with pytest.raises(MissingExtraError, match=r"the report as HTML needs the extra 'cli'"):
        render_html([Recording()])


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs the browser chromium")
def test_a_browser_draws_it_and_runs_nothing_else(tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    write_html(tmp_path / "one.html", [evil()], title=EVIL)
    write_html(tmp_path / "many.html", [evil(), *many(2)])
    wrong: list[str] = []
    with sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: wrong.append(request.url) if request.url.startswith("http") else None)

        page.goto((tmp_path / "one.html").as_uri())
        page.wait_for_selector(".plot .main-svg")
        assert page.evaluate("window.pwned") is None
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")

        page.goto((tmp_path / "many.html").as_uri())
        assert page.locator(".plot .main-svg").count() == 0  # drawn when it is opened
        page.locator("details.call > summary").first.click()
        page.wait_for_selector(".plot .main-svg")
        assert page.evaluate("window.pwned") is None
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        browser.close()
    assert wrong == []
