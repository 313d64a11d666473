"""Live captions: what each speaker of a session says, while they say it and when they have ended.

They are printed, sent into the call as JSON ({"caption": ...}), and at the end of the session written as WebVTT and as
a Markdown transcript. The recognisers run in worker processes, so that no call waits for them. Needs the extra `demo`.

    python examples/transcribe.py --out captions --workers 2     # listens on ws://localhost:8765
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from speech_models import EARS_HZ, Recogniser, missing, shared_recogniser

from vonage_audio_connector_server import (
    AudioConnector,
    AudioConnectorServerConfig,
    SpeechSegment,
    Video,
    VideoSession,
)

try:
    import typer
    import webvtt
except ImportError:
    raise missing("typer and webvtt-py") from None

PAUSE_S = 0.8  # captions are read in whole sentences
GROWS_EVERY_S = 1.0  # how often the caption of who speaks is brought up to date

settings: dict[str, Any] = {"out": os.environ.get("CAPTIONS", "captions"), "workers": 1, "whisper": ""}


Turn = tuple[int, float]  # of which participant, and when it began


@dataclass(frozen=True)
class Caption:
    start_s: float
    end_s: float
    speaker: str
    text: str


def recogniser() -> Recogniser:
    return shared_recogniser(settings["whisper"], settings["workers"])


async def load() -> None:
    await anyio.to_thread.run_sync(recogniser)


class Captions:
    """Those of one session."""

    def __init__(self, session: VideoSession) -> None:
        self._session = session
        self._final: list[Caption] = []
        self._growing: dict[Turn, SpeechSegment] = {}  # the newest of each turn; who was served last stands last
        self._ended: set[Turn] = set()  # turns of which the final caption is on its way

    async def write(self) -> None:
        speech = self._session.speech(hang_over_s=PAUSE_S, progress_s=GROWS_EVERY_S, sample_rate_hz=EARS_HZ)
        async with anyio.create_task_group() as tasks:
            async for segment in speech:
                turn = id(segment.participant), segment.start_s
                if segment.is_final:
                    self._ended.add(turn)
                    tasks.start_soon(self._caption, segment)
                else:
                    is_idle = not self._growing
                    self._growing[turn] = segment
                    if is_idle:
                        tasks.start_soon(self._grow)
        await anyio.to_thread.run_sync(self._save)

    async def _caption(self, segment: SpeechSegment) -> None:
        text = await recogniser().text_of(segment.pcm)
        if text:
            self._final.append(Caption(segment.start_s, segment.end_s, segment.participant.name, text))
            self._show(segment, text)

    async def _grow(self) -> None:
        """Bring captions up to date, one at a time: what has ended is more urgent, and waits for one at most."""
        while self._growing:
            turn, segment = next(iter(self._growing.items()))
            if turn not in self._ended:
                text = await recogniser().text_of(segment.pcm)
                if text and turn not in self._ended:
                    self._show(segment, text)
            if self._growing[turn] is segment:
                del self._growing[turn]
            else:
                self._growing[turn] = self._growing.pop(turn)  # it has grown meanwhile: behind the others

    def _show(self, segment: SpeechSegment, text: str) -> None:
        name = segment.participant.name
        print(f"{clock(segment.start_s)} {name}: {text}{'' if segment.is_final else ' ...'}", flush=True)
        caption = {"speaker": name, "text": text, "final": segment.is_final}
        caption |= {"start_s": round(segment.start_s, 2), "end_s": round(segment.end_s, 2)}
        self._session.send_json_packet({"caption": caption})

    def _save(self) -> None:
        """Write both files, in the order in which was spoken."""
        captions = sorted(self._final, key=lambda caption: caption.start_s)
        stem = Path(settings["out"]) / "".join(char if char.isalnum() else "-" for char in self._session.id)[:80]
        stem.parent.mkdir(parents=True, exist_ok=True)
        file = webvtt.WebVTT()
        for one in captions:
            end_s = max(one.end_s, one.start_s + 0.5)
            words = one.text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
            file.captions.append(webvtt.Caption(clock(one.start_s), clock(end_s), f"<v {voice(one.speaker)}>{words}"))
        file.save(f"{stem}.vtt")
        lines = [f"**{one.speaker}** ({clock(one.start_s)[:8]}): {one.text}\n" for one in captions]
        Path(f"{stem}.md").write_text("# Transcript\n\n" + "\n".join(lines), encoding="utf-8")
        print(f"{len(captions)} captions are in {stem}.vtt and {stem}.md", flush=True)


def clock(seconds: float) -> str:
    return f"{int(seconds // 3600):02d}:{int(seconds // 60 % 60):02d}:{seconds % 60:06.3f}"


def voice(name: str) -> str:
    """A name as WebVTT can have it."""
    return name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "").replace("\n", " ") or "?"


async def on_session_start(session: VideoSession) -> None:
    await Captions(session).write()


app = AudioConnector(on_start=load, on_session_start=on_session_start)


def main(
    out: str = typer.Option("captions", help="The folder for .vtt and .md."),
    workers: int = typer.Option(1, min=1, help="How many recognisers; each takes a core and 300 MB."),
    whisper: str = typer.Option("", help="A model of faster-whisper, by name or folder; else the installed one."),
    port: int = typer.Option(8765, envvar="PORT"),
) -> None:
    """Serve captions."""
    settings.update(out=out, workers=workers, whisper=whisper)
    recogniser()
    config = AudioConnectorServerConfig(host="localhost", port=port, on_session_start=on_session_start)
    Video().run_audio_connector_server(config)


if __name__ == "__main__":
    typer.run(main)
