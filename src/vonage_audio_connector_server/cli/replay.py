"""The commands `replay` and `report`: what a recording tells, and what the program makes of it today."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import AudioConnectorError
from .exits import FAILED, refuse
from .target import CommandError, as_app, load_target

_FOLDER = typer.Argument(metavar="FOLDER", help="A recording: of the flight recorder, or of simulate --record.")


def replay(
    folder: Annotated[Path, _FOLDER],
    target: Annotated[
        str, typer.Argument(metavar="MODULE:NAME", help="on_connect, or an ASGI app: bot:on_connect or bot.py:app.")
    ],
    path: Annotated[str, typer.Option(metavar="PATH", help="What to ask the app for.")] = "/",
    real_time: Annotated[
        bool, typer.Option("--real-time", help="For programs that wait for others, such as a service of speech.")
    ] = False,
    report_path: Annotated[
        Path | None, typer.Option("--report", metavar="HTML", help="Both calls as one page.")
    ] = None,
    output_path: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="WAV", help="What is said (left) and heard (right) now.")
    ] = None,
    record: Annotated[Path | None, typer.Option(metavar="FOLDER", help="The replay, recorded.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the differences as one JSON object.")] = False,
) -> None:
    """Feed a recorded call to your program once more, and tell where the answer differs; 1 where it does."""
    import anyio

    from ..recording.folder import read_folder
    from ..testing.running import run

    try:
        recording = read_folder(folder)
        work = partial(_replay, recording, as_app(load_target(target)), path)
        replayed = anyio.run(work) if real_time else run(work)
        _leave([recording, replayed.recording], report_path, output_path, record)
    except (AudioConnectorError, OSError) as exc:
        refuse(exc)
    if as_json:
        values = {"same": not replayed.differences, "sentence": replayed.sentence, "errors": replayed.errors}
        print(json.dumps({**values, "differences": [asdict(one) for one in replayed.differences]}))
    else:
        typer.echo(replayed.sentence)
        for one in replayed.differences:
            typer.echo(f"{one.at_s:8.2f} s  {one.what}")
            typer.echo(f"            was {one.recorded or '–'}\n            is  {one.replayed or '–'}")
        if replayed.traceback:
            typer.echo(replayed.traceback)
    if replayed.differences or replayed.errors:
        raise typer.Exit(FAILED)


def report(
    folder: Annotated[Path, _FOLDER],
    output_path: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="HTML", help="The page; by default FOLDER.html.")
    ] = None,
    sound_path: Annotated[
        Path | None, typer.Option("--sound", metavar="WAV", help="What was said (left) and heard (right).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON object.")] = False,
    check: Annotated[
        list[str] | None, typer.Option(metavar="EXPRESSION", help="Such as 'gaps == 0'; repeatable.")
    ] = None,
) -> None:
    """Make the report of a recording; of a folder with several, one page of all of them."""
    from ..simulator.check import Check
    from ..simulator.report import report_of
    from . import outputs
    from .view import print_checks, print_report, print_reports

    try:
        checks = [Check(expression) for expression in check or []]
        recordings = _read_all(folder)
        reports = [report_of(recording) for recording in recordings]
        whole = folder.resolve()  # its name has a dot in it, and before it where the process was killed
        page = output_path or whole.with_name(f"{whole.name.lstrip('.')}.html")
        outputs.write_page(page, recordings, reports, whole.name)
        sounds = [] if sound_path is None else outputs.write_sound(sound_path, recordings)
        results = outputs.run_checks(checks, reports) if checks else []
    except (AudioConnectorError, OSError) as exc:
        refuse(exc)
    if as_json:
        values = [one.to_dict() for one in reports]
        print(json.dumps(values[0] if len(values) == 1 else {"calls": values}))
    else:
        if len(reports) == 1:
            print_report(reports[0], *sounds)
        else:
            print_reports(reports)
        print_checks(results, [page])
    if not all(result.ok for result in results):
        raise typer.Exit(FAILED)


async def _replay(recording: Any, app: Any, path: str) -> Any:
    from ..simulator.replay import replay as replay_call

    async with _lifespan(app) as state:
        return await replay_call(recording, app, path, state=state)


@asynccontextmanager
async def _lifespan(app: Any) -> Any:
    import anyio

    from ..runtime import single_error
    from ..simulator.app_carrier import Lifespan

    with single_error():
        async with anyio.create_task_group() as tasks:
            cycle = Lifespan(app)
            await cycle.start(tasks)
            yield cycle.state
            await cycle.stop()
            tasks.cancel_scope.cancel()


def _read_all(folder: Path) -> list[Any]:
    """The recording that a folder is, or those that are in it, oldest first."""
    from ..recording.folder import read_folder

    try:
        return [read_folder(folder)]
    except AudioConnectorError:
        inside = (
            [one for one in sorted(folder.iterdir(), key=lambda one: one.name.lstrip(".")) if one.is_dir()]
            if folder.is_dir()
            else []
        )
        if not inside:
            raise
    found = []
    for one in inside:
        try:
            found.append(read_folder(one))
        except AudioConnectorError as exc:
            typer.echo(f"left out: {exc}", err=True)
    if not found:
        raise CommandError(f"{folder} holds no recording")
    return found


def _leave(recordings: list[Any], page: Path | None, sound: Path | None, record: Path | None) -> None:
    from ..recording.folder import write_folder
    from ..simulator.report import report_of
    from . import outputs

    if page is not None:
        outputs.write_page(page, recordings, [report_of(one) for one in recordings], "Recorded, and replayed")
    if sound is not None:
        outputs.write_sound(sound, recordings[1:])
    if record is not None:
        write_folder(record, recordings[1])
