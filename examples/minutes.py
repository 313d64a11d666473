"""The minutes of a session: who said what, and when, in a SQLite file that can be searched. Needs the extra `demo`.

python examples/minutes.py serve --db minutes.db        # listens on ws://localhost:8765
python examples/minutes.py search "budget" --db minutes.db
python examples/minutes.py show --db minutes.db         # the last session
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
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
except ImportError:
    raise missing("typer") from None

SCHEMA = """
CREATE TABLE IF NOT EXISTS sessions (number INTEGER PRIMARY KEY, id TEXT NOT NULL, began TEXT NOT NULL, ended TEXT);
CREATE VIRTUAL TABLE IF NOT EXISTS said USING fts5(
    text, speaker, session UNINDEXED, start_s UNINDEXED, end_s UNINDEXED, tokenize = 'porter unicode61');
"""

settings: dict[str, Any] = {"db": os.environ.get("MINUTES", "minutes.db"), "whisper": "", "workers": 1}
program = typer.Typer(add_completion=False, help=__doc__)


def recogniser() -> Recogniser:
    return shared_recogniser(settings["whisper"], settings["workers"])


async def load() -> None:
    await anyio.to_thread.run_sync(recogniser)


class Minutes:
    """The file."""

    def __init__(self, path: str) -> None:
        self._path = path
        with self._open() as db:
            db.executescript(SCHEMA)

    def begin(self, session_id: str) -> int:
        """A session has begun; returns its number: the same id may come again another day."""
        with self._open() as db:
            row = db.execute("INSERT INTO sessions (id, began) VALUES (?, ?)", (session_id, now()))
            return int(row.lastrowid or 0)

    def end(self, number: int) -> None:
        with self._open() as db:
            db.execute("UPDATE sessions SET ended = ? WHERE number = ?", (now(), number))

    def add(self, number: int, speaker: str, start_s: float, end_s: float, text: str) -> None:
        with self._open() as db:
            db.execute("INSERT INTO said VALUES (?, ?, ?, ?, ?)", (text, speaker, number, start_s, end_s))

    def search(self, words: str) -> Iterator[tuple[int, str, float, str]]:
        """Session, speaker, time and text of what has all these words; the best first."""
        query = " ".join('"' + word.replace('"', '""') + '"' for word in words.split())
        with self._open() as db:
            yield from db.execute(
                "SELECT session, speaker, start_s, text FROM said WHERE said MATCH ? ORDER BY rank", (query,)
            ).fetchall()

    def of(self, number: int | None = None) -> Iterator[tuple[int, str, float, str]]:
        """All that was said in a session; None: in the last one."""
        with self._open() as db:
            number = number or db.execute("SELECT max(number) FROM sessions").fetchone()[0]
            order = "SELECT session, speaker, start_s, text FROM said WHERE session = ? ORDER BY start_s"
            yield from db.execute(order, (number,)).fetchall()

    def _open(self) -> Any:
        return _committing(self._path)


class _committing:  # noqa: N801 (a context manager, like a function)
    """A connection for one thing: it is committed and closed behind it, in whatever thread that is."""

    def __init__(self, path: str) -> None:
        self._db = sqlite3.connect(path, timeout=10)

    def __enter__(self) -> sqlite3.Connection:
        return self._db

    def __exit__(self, kind: object, *rest: object) -> None:
        with closing(self._db):
            if kind is None:
                self._db.commit()


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


async def on_session_start(session: VideoSession) -> None:
    minutes = await anyio.to_thread.run_sync(Minutes, settings["db"])
    number = await anyio.to_thread.run_sync(minutes.begin, session.id)

    async def write(segment: SpeechSegment) -> None:
        text = await recogniser().text_of(segment.pcm)
        if text:
            name = segment.participant.name
            await anyio.to_thread.run_sync(minutes.add, number, name, segment.start_s, segment.end_s, text)
            print(f"{name}: {text}", flush=True)

    async with anyio.create_task_group() as tasks:
        async for segment in session.speech(sample_rate_hz=EARS_HZ):
            tasks.start_soon(write, segment)
    await anyio.to_thread.run_sync(minutes.end, number)


app = AudioConnector(on_start=load, on_session_start=on_session_start)


@program.command()
def serve(
    db: str = typer.Option("minutes.db"),
    workers: int = typer.Option(1, min=1, help="How many recognisers; each takes a core and 300 MB."),
    whisper: str = typer.Option("", help="A model of faster-whisper, by name or folder; else the installed one."),
    port: int = typer.Option(8765, envvar="PORT"),
) -> None:
    """Write the minutes of all sessions."""
    settings.update(db=db, workers=workers, whisper=whisper)
    recogniser()
    config = AudioConnectorServerConfig(host="localhost", port=port, on_session_start=on_session_start)
    Video().run_audio_connector_server(config)


@program.command()
def search(words: str, db: str = typer.Option("minutes.db")) -> None:
    """Find who said something, and when."""
    show_rows(existing(db).search(words))


@program.command()
def show(session: int = typer.Option(0, help="Its number; else the last one."), db: str = "minutes.db") -> None:
    """Print the minutes of a session."""
    show_rows(existing(db).of(session or None))


def existing(db: str) -> Minutes:
    if not Path(db).is_file():
        raise SystemExit(f"there is no file {db}")
    return Minutes(db)


def show_rows(rows: Iterator[tuple[int, str, float, str]]) -> None:
    for number, speaker, start_s, text in rows:
        print(f"{number:>4}  {int(start_s // 60):02d}:{int(start_s % 60):02d}  {speaker}: {text}")


if __name__ == "__main__":
    program()
