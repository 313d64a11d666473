"""`python -m benchmarks`: builds the environments, measures row by row, writes the report."""

from __future__ import annotations

import datetime
import json
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from . import environments, machine, report, rows
from .peers import LETTERS, LOAD_ENVIRONMENT, PEERS, ROWS, Peer
from .processes import CORES, ChildError
from .results import Entry, Results

console = Console()
Step = tuple[str, Peer, int, str, Callable[[], rows.Figures]]

QUICK = rows.Settings(rounds=1, warmup_s=1.0, window_s=2.0, play_s=6.0)
QUICK_PEERS = "ours,ours-waiting,reference,reference-waiting"
CPU_OF_A_CAPACITY_GUESS = 0.8
FIRST_GUESS = 200


def main(
    row_names: Annotated[str, typer.Option("--rows", help="letters a–h or names, with commas")] = "",
    peer_names: Annotated[str, typer.Option("--peers", help="names, with commas")] = "",
    rounds: Annotated[int | None, typer.Option(help="of in, echo and play; others at most 2")] = None,
    streams: Annotated[int | None, typer.Option(help="of in, echo, play and barge-in")] = None,
    window_s: Annotated[float | None, typer.Option(help="seconds measured in each round")] = None,
    out: Annotated[Path | None, typer.Option(help="folder of the report")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="rows a, b and c in about a minute")] = False,
    again: Annotated[Path | None, typer.Option(help="a folder whose results are reported anew, unmeasured")] = None,
) -> None:
    """Compare this library with its peers."""
    if again is not None:
        known = json.loads((again / "results.json").read_text())
        _report(Results.from_json(known["entries"]), known["about"], again)
        return
    settings = QUICK if quick else rows.Settings()
    changes: dict[str, Any] = {"rounds": rounds, "streams": streams, "window_s": window_s}
    settings = replace(settings, **{name: value for name, value in changes.items() if value is not None})
    settings = replace(settings, environment={"BENCHMARK_PLAY_S": str(settings.play_s)})
    chosen_rows = _rows(row_names or ("a,b,c" if quick else ""))
    wanted = _peers(peer_names or (QUICK_PEERS if quick else ""))
    now = datetime.datetime.now(tz=datetime.UTC)
    folder = out or environments.HERE / "results" / now.strftime("%Y-%m-%d-%H%M")
    folder.mkdir(parents=True, exist_ok=True)

    absent = _build(wanted)
    present = [peer for peer in wanted if peer.environment not in absent]
    results = Results()
    began_s = time.monotonic()
    try:
        _measure(results, chosen_rows, present, settings)
    finally:  # an interrupted run has a report, too
        about: dict[str, Any] = {
            "date": now.strftime("%Y-%m-%d %H:%M UTC"),
            "command": shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]),
            "minutes": (time.monotonic() - began_s) / 60,
            "machine": machine.describe(),
            "absent": absent,
            "peers": [peer.name for peer in wanted],
            "rows": chosen_rows,
            "versions": {name: environments.versions(name) for name in dict.fromkeys(p.environment for p in present)},
        }
        written = {"about": about, "entries": results.to_json()}
        (folder / "results.json").write_text(json.dumps(written, indent=1))
        _report(results, about, folder)


def _measure(results: Results, chosen: list[str], peers: list[Peer], settings: rows.Settings) -> None:
    if CORES is None:
        console.print("Server and load can't be pinned to cores of their own: the figures say less.")
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console) as progress:
        for row in chosen:
            steps = list(_steps(row, results, peers, settings))
            task = progress.add_task(row, total=len(steps))
            for name, peer, number, label, step in steps:
                progress.update(task, description=f"{name}: {label}")
                if not console.is_terminal:
                    console.print(f"{name}: {label}")
                results.add(_entry(name, peer, number, step))
                progress.advance(task)
            progress.update(task, description=row)


def _entry(row: str, peer: Peer, number: int, step: Callable[[], rows.Figures]) -> Entry:
    """Measure; once more where the load could not keep up, as something else may have used its core."""
    problem = ""
    for _ in range(2):
        try:
            return Entry(row, peer.name, number, figures=step())
        except rows.Saturated as exc:
            problem = str(exc)
        except ChildError as exc:
            problem = str(exc)
            break
    console.print(f"[red]{row}, {peer.name}[/red]: {problem}")
    return Entry(row, peer.name, number, problem=problem)


def _steps(row: str, results: Results, peers: list[Peer], settings: rows.Settings) -> Iterator[Step]:
    able = [peer for peer in peers if peer.reason_against(row) is None]
    several: dict[str, Callable[[Peer, rows.Settings], rows.Figures]] = {
        "in": rows.measure_in,
        "echo": rows.measure_echo,
        "play": rows.measure_play,
        "barge-in": rows.measure_barge_in,
        "memory": rows.measure_memory,
        "churn": rows.measure_churn,
    }
    count = {"barge-in": min(2, settings.rounds), "growth": min(2, settings.rounds)}.get(row, settings.rounds)
    if row in ("memory", "churn", "capacity"):
        count = 1
    for number in range(1, count + 1):
        for peer in able:
            label = f"{peer.name}, round {number} of {count}"
            if row == "growth":
                for streams in rows.GROWTH_STREAMS:
                    yield row, peer, number, label, _bind(rows.measure_growth, peer, settings, streams)
            elif row == "capacity":
                yield row, peer, number, label, _bind_capacity(peer, settings, results)
            else:
                yield row, peer, number, label, _bind(several[row], peer, settings)


def _bind(function: Callable[..., rows.Figures], *arguments: object) -> Callable[[], rows.Figures]:
    return lambda: function(*arguments)


def _bind_capacity(peer: Peer, settings: rows.Settings, results: Results) -> Callable[[], rows.Figures]:
    """The search begins where the cost of an echo, if it was measured, says that the core is nearly full."""
    cost = results.spread("echo", peer.name, "us_a_message")
    guess = round(CPU_OF_A_CAPACITY_GUESS * 1e6 / 50 / cost.median) if cost else FIRST_GUESS
    return lambda: rows.measure_capacity(peer, settings, guess)


def _build(peers: list[Peer]) -> dict[str, str]:
    absent: dict[str, str] = {}
    for name in dict.fromkeys([LOAD_ENVIRONMENT, *(peer.environment for peer in peers)]):
        with console.status(f"Environment of {name}"):
            try:
                environments.build(name)
            except environments.EnvironmentMissingError as exc:
                console.print(f"[red]No environment of {name}[/red]: {exc}")
                absent[name] = str(exc)
    if LOAD_ENVIRONMENT in absent:
        raise typer.Exit(1)
    return absent


def _report(results: Results, about: dict[str, Any], folder: Path) -> None:
    from .plots import draw  # takes a second to import, and is not needed while measuring

    peers = [peer for peer in PEERS if peer.name in about["peers"]]
    pictures = draw(results, peers, folder)
    text = report.write(results, peers, about["rows"], about)
    text += "".join(f"\n![{path.stem}]({path.name})\n" for path in pictures)
    (folder / "report.md").write_text(text)
    console.print(f"Report: {folder}/report.md")


def _rows(names: str) -> list[str]:
    chosen = [LETTERS.get(name, name) for name in names.split(",") if name] or list(ROWS)
    unknown = [name for name in chosen if name not in ROWS]
    if unknown:
        raise typer.BadParameter(f"no row {unknown[0]}; there are {', '.join(ROWS)}")
    return chosen


def _peers(names: str) -> list[Peer]:
    by_name = {peer.name: peer for peer in PEERS}
    unknown = [name for name in names.split(",") if name and name not in by_name]
    if unknown:
        raise typer.BadParameter(f"no peer {unknown[0]}; there are {', '.join(by_name)}")
    return [by_name[name] for name in names.split(",") if name] or list(PEERS)


if __name__ == "__main__":
    typer.run(main)
