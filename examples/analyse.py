"""Analyses calls while they last: who speaks, how loud, how high, who talks over whom; in a table and two CSV files.

Each connection of a session is one speaker, named by the custom header `speaker` or `name`, else by the connection.

    python examples/analyse.py --csv call.csv    # listens on ws://localhost:8765; or: uvicorn examples.analyse:app
"""

import asyncio
import csv
import math
import os
from collections import Counter, defaultdict
from contextlib import nullcontext
from pathlib import Path

import anyio

from vonage_audio_connector_server import Audio, AudioConnector, AudioConnectorServerConfig, Client, Video
from vonage_audio_connector_server.audio import FLOOR_DBFS, level_dbfs, to_float32
from vonage_audio_connector_server.speech import SpeechEnded, Turn

try:
    import numpy as np
    import typer
    import webrtcvad  # noqa: F401 (client.turns() needs it)
    from rich import console, live, table, text
except ImportError:
    raise SystemExit("analyse.py needs extras cli and speech; in the checkout: pip install '.[cli,speech]'") from None

PORT, CSV, SUMMARY = int(os.environ.get("PORT", "8765")), Path("analyse.csv"), Path("analyse-summary.csv")
LEAST_HZ, MOST_HZ, PERIODIC = 60, 400, 0.7  # of voices; PERIODIC: so alike are two periods, of 1; noise is less
LOUD_DBFS = -45.0  # what is softer is the room; turns() has the same limit
GIVES_WAY_S = 1.0  # who is interrupted stops within this time
KNOWN_S = 2.0  # a second is counted so late: GIVES_WAY_S, 0.66 s until the end of a turn is known, and some room
Span = tuple[float, float]  # from when to when; the end of a turn that goes on is infinite
Sums = Counter[str | int]  # a number is a pitch in Hz, and counts its frames: so hours take no more memory


def pitch_hz(pcm: bytes, rate_hz: int) -> float | None:
    """The pitch of a voice in 40 ms of sound; None: there is none. By normalised autocorrelation: how alike the sound
    is to itself one period later. After two periods it is as alike, so the first peak near the best one is taken."""
    step = rate_hz // 8_000  # 8 kHz are enough, because a parabola tells where between the samples the peak is
    samples = to_float32(pcm).reshape(-1, step).mean(axis=1)
    samples -= samples.mean()
    lags = np.arange(8_000 // MOST_HZ, 8_000 // LEAST_HZ + 1)
    size = len(samples) - lags[-1] - 1  # what is compared, at each lag
    energies = np.convolve(samples**2, np.ones(size), "valid")
    alike = np.correlate(samples, samples[:size], "valid") / np.sqrt(energies[0] * energies + 1e-12)
    peaks = lags[(alike[lags] > alike[lags - 1]) & (alike[lags] >= alike[lags + 1]) & (alike[lags] >= PERIODIC)]
    if not len(peaks):
        return None
    lag = peaks[alike[peaks] >= 0.9 * alike[peaks].max()][0]
    before, best, behind = alike[lag - 1 : lag + 2]
    return float(8_000 / (lag + (before - behind) / (before - 2 * best + behind) / 2))


def ticks(spans: list[Span], second: int) -> set[int]:
    """Which hundredths of this second the spans cover."""
    ends = [(round(100 * max(start_s, second)), round(100 * min(end_s, second + 1))) for start_s, end_s in spans]
    return {tick for start, end in ends for tick in range(start, end)}


def interruptions(begun: list[Span], others: list[Span]) -> int:
    """How many turns interrupt: another speaker's turn had begun before, and ends within `GIVES_WAY_S` after this one
    begins. So does a "yes" in somebody's last second. A turn goes on in pauses of less than 0.6 s."""
    return sum(any(start_s < at_s < end_s <= at_s + GIVES_WAY_S for start_s, end_s in others) for at_s, _ in begun)


def columns(sums: Sums) -> dict[str, float | str]:
    """What is told of a second, or of all: level of the mean power, share of time in turns, median of the pitch."""
    pitches_hz = sorted(key for key in sums if isinstance(key, int))
    power, rank = sums["power"] / max(1, sums["frames"]), sum(sums[hz] for hz in pitches_hz) / 2
    return {
        "present_s": sums["ticks"] / 100,
        "level_dbfs": round(10 * math.log10(power), 1) if power else FLOOR_DBFS,
        "speech_share": round(sums["speech_ticks"] / max(1, sums["ticks"]), 2),
        "pitch_hz": next((hz for hz in pitches_hz if (rank := rank - sums[hz]) <= 0), ""),
        "talk_over_s": sums["talk_over_ticks"] / 100,
        "interruptions": sums["interruptions"],
        "turns": sums["turns"],
    }


class Speaker:
    def __init__(self, session: str, name: str, joined_s: float) -> None:
        self.session, self.name, self.joined_s, self.left_s = session, name, joined_s, math.inf  # by the loop's clock
        self.spans: list[Span] = []  # its turns
        self.seconds: defaultdict[int, Sums] = defaultdict(Counter)  # which are not counted yet
        self.sums: Sums = Counter()
        self.level = 0.0, FLOOR_DBFS  # when it was heard, and how loud

    def turn(self, turn: Turn) -> None:
        end_s = self.joined_s + turn.end_s if isinstance(turn, SpeechEnded) else math.inf
        self.spans = [*(span for span in self.spans if span[1] < math.inf), (self.joined_s + turn.start_s, end_s)]

    async def hear(self, client: Client, rate_hz: int) -> None:
        recent = bytes(4096)
        async for event in client.events():
            if isinstance(event, Audio):
                self.level = at_s, dbfs = self.joined_s + event.at_s, level_dbfs(event.pcm)
                recent = (recent + event.pcm)[-2 * rate_hz // 25 :]  # 40 ms
                self.seconds[int(at_s)].update(frames=1, power=10 ** (dbfs / 10))
                if dbfs > LOUD_DBFS and (pitch := pitch_hz(recent, rate_hz)):
                    self.seconds[int(at_s)][round(pitch)] += 1

    def count(self, second: int, here: list["Speaker"]) -> Sums:
        others = [span for peer in here if peer is not self and peer.session == self.session for span in peer.spans]
        self.spans = [span for span in self.spans if span[1] > second]
        begun, spoken = [span for span in self.spans if second <= span[0] < second + 1], ticks(self.spans, second)
        sums = self.seconds.pop(second, Counter())
        sums.update(speech_ticks=len(spoken), talk_over_ticks=len(spoken & ticks(others, second)), turns=len(begun))
        sums.update(
            ticks=len(ticks([(self.joined_s, self.left_s)], second)), interruptions=interruptions(begun, others)
        )
        self.sums.update(sums)
        return sums


def show(speakers: list[Speaker], now_s: float) -> table.Table:
    shown = table.Table("speaker", "level", "dBFS", "speech", "Hz", "talk-over s", "interruptions", "turns", box=None)
    for one in sorted(speakers, key=lambda one: one.session):
        dbfs = one.level[1] if now_s - one.level[0] < 0.3 else FLOOR_DBFS  # who is muted sends no frames
        _, _, *told = map(str, columns(one.sums).values())  # how loud it is now says more than how loud it was
        style = "green" if one.spans and one.spans[-1][1] == math.inf else ""  # who speaks
        shown.add_row(text.Text(one.name), f"{'#' * round(dbfs / 5 + 12):12}", f"{dbfs:.0f}", *told, style=style)
    return shown


class Analysis:
    csv_path, summary_path = CSV, SUMMARY

    async def start(self) -> None:
        self.speakers, self.first = list[Speaker](), int(anyio.current_time())
        self.second = self.first  # the next to count
        self.file = self.csv_path.open("w", newline="", buffering=1)  # by lines: a crash leaves what was counted
        self.rows = csv.writer(self.file)
        self.rows.writerow(["session", "speaker", "second", *columns(Counter())])
        self.running = asyncio.create_task(self.run())

    def count(self, until_s: float) -> None:
        while self.second + 1 <= until_s:
            here = [one for one in self.speakers if one.joined_s < self.second + 1 and one.left_s > self.second]
            for one in here:
                told = columns(one.count(self.second, here)).values()
                self.rows.writerow([one.session, one.name, self.second - self.first, *told])
            self.second += 1

    async def run(self) -> None:
        with live.Live(auto_refresh=False) if console.Console().is_terminal else nullcontext() as shown:
            while True:
                await anyio.sleep(0.25 if shown else 5.0)
                self.count(anyio.current_time() - KNOWN_S)
                here = [one for one in self.speakers if one.left_s == math.inf]
                if shown:
                    shown.update(show(here, anyio.current_time()), refresh=True)
                elif here:
                    print(*(f"{one.name} {columns(one.sums)}" for one in here), sep="; ", flush=True)

    async def stop(self) -> None:
        self.running.cancel()
        await asyncio.wait([self.running])
        self.count(anyio.current_time() + 1)  # all have left
        self.file.close()
        with self.summary_path.open("w", newline="") as file:
            told = [[one.session, one.name, *columns(one.sums).values()] for one in self.speakers]
            csv.writer(file).writerows([["session", "speaker", *columns(Counter())], *told])


async def on_connect(client: Client) -> None:
    turns = client.turns(max_turn_s=600)  # what is longer than a minute is one turn, too
    rate_hz = (await client.wait_format()).rate_hz  # the custom keys come with it
    info, joined_s = client.info(), anyio.current_time() - client.stats().duration_s
    names = [source.get(key) for key in ("speaker", "name") for source in (info.custom, info.headers)]
    name = str(next(filter(None, names), info.connection_id or info.id))
    speaker = Speaker(info.session_id or info.id, "".join(filter(str.isprintable, name)), joined_s)  # no control codes
    analysis.speakers.append(speaker)
    try:
        client.start_soon(speaker.hear, client, rate_hz)
        async for turn in turns:
            speaker.turn(turn)
    finally:
        speaker.left_s = anyio.current_time()


analysis = Analysis()
start, stop = analysis.start, analysis.stop
app = AudioConnector(on_connect, on_start=start, on_stop=stop)


def main(host: str = "localhost", port: int = PORT, csv: Path = CSV, summary: Path = SUMMARY) -> None:
    """Analyse calls. The first CSV file gets a row per speaker and second, the summary one per speaker at the end."""
    analysis.csv_path, analysis.summary_path = csv, summary
    options = AudioConnectorServerConfig(host=host, port=port, on_connect=on_connect, on_start=start, on_stop=stop)
    Video().run_audio_connector_server(options)


if __name__ == "__main__":
    typer.run(main)
