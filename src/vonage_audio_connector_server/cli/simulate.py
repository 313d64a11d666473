"""The command `simulate`: its options, and what it prints."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ..errors import AudioConnectorError, AudioConnectorStartServerError
from .exits import FAILED, INTERRUPTED, refuse
from .options import check_output, json_transport, read_headers
from .target import CommandError

_CALL, _CALLER, _NETWORK, _OUTPUT = "The call", "The caller", "The network", "What is left behind"
_TLS, _PATIENCE = "TLS", "Patience"


def simulate(
    target: Annotated[
        str,
        typer.Argument(
            metavar="URL|MODULE:NAME",
            help="A server, ws://… or wss://…; or a program, bot.py:on_connect, which is served meanwhile.",
        ),
    ],
    inputs: Annotated[
        list[Path] | None,
        typer.Option("--input", "-i", metavar="FILE", help="What to say: WAV, FLAC, MP3, OGG; may be repeated."),
    ] = None,
    script: Annotated[
        Path | None, typer.Option("--script", metavar="YAML", help="What to do, step by step, in place of --input.")
    ] = None,
    mic: Annotated[
        bool, typer.Option("--mic", help="Speak into the microphone, and hear the answer, until Ctrl-C.")
    ] = False,
    streams: Annotated[
        int, typer.Option(metavar="N", min=1, max=1000, help="How many calls at once; the inputs go round.")
    ] = 1,
    mix: Annotated[bool, typer.Option("--mix", help="Say all inputs at once, as one stream.")] = False,
    path: Annotated[
        str, typer.Option(metavar="PATH", help="Of a program: what to ask for.", rich_help_panel=_CALL)
    ] = "/",
    rate_hz: Annotated[
        int | None,
        typer.Option("--rate", metavar="8000|16000|24000", help="The rate of the call.", rich_help_panel=_CALL),
    ] = None,
    frame_ms: Annotated[
        int, typer.Option("--frame-ms", metavar="10|20", help="How long a frame lasts.", rich_help_panel=_CALL)
    ] = 20,
    transport: Annotated[
        Literal["binary", "json"],
        typer.Option(help="How audio travels: binary messages, or JSON texts.", rich_help_panel=_CALL),
    ] = "binary",
    audio_field: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The JSON key of what the server receives.", rich_help_panel=_CALL),
    ] = None,
    answer_field: Annotated[
        str | None, typer.Option(metavar="NAME", help="The JSON key of what the server sends.", rich_help_panel=_CALL)
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option("--header", metavar="NAME=VALUE", help="A custom header; repeatable.", rich_help_panel=_CALL),
    ] = None,
    router: Annotated[
        Literal["strict", "wsbridge", "lenient"],
        typer.Option(help="What the router makes of what the server sends.", rich_help_panel=_CALL),
    ] = "lenient",
    first_s: Annotated[
        float,
        typer.Option("--first-message", metavar="S", min=0, help="When the first text comes.", rich_help_panel=_CALL),
    ] = 0.05,
    silence: Annotated[
        Literal["frames", "none"],
        typer.Option(help="What is sent while nobody speaks: frames of silence, or none.", rich_help_panel=_CALL),
    ] = "frames",
    repeat_header: Annotated[
        bool, typer.Option("--repeat-header", help="A request header comes twice.", rich_help_panel=_CALL)
    ] = False,
    greeting: Annotated[
        bool, typer.Option("--wait-for-greeting", help="Let the program speak first.", rich_help_panel=_CALLER)
    ] = False,
    delay_s: Annotated[
        float, typer.Option("--delay", metavar="S", min=0, help="Wait before speaking.", rich_help_panel=_CALLER)
    ] = 0.0,
    barge_in_s: Annotated[
        float | None,
        typer.Option(
            "--barge-in", metavar="S", min=0, help="Interrupt the answer so far into it.", rich_help_panel=_CALLER
        ),
    ] = None,
    mute: Annotated[
        str | None,
        typer.Option(metavar="AT:FOR", help="Be muted in the middle of the recording.", rich_help_panel=_CALLER),
    ] = None,
    press: Annotated[
        str, typer.Option(metavar="KEYS", help="Press these behind the recording.", rich_help_panel=_CALLER)
    ] = "",
    net_delay_s: Annotated[
        float | None, typer.Option("--net-delay", metavar="S", help="Each way.", rich_help_panel=_NETWORK)
    ] = None,
    jitter_s: Annotated[
        float | None, typer.Option("--jitter", metavar="S", help="Up to so much more.", rich_help_panel=_NETWORK)
    ] = None,
    stall: Annotated[
        list[str] | None,
        typer.Option(metavar="AT:FOR", help="Nothing passes for so long; repeatable.", rich_help_panel=_NETWORK),
    ] = None,
    slow_bytes_s: Annotated[
        float | None,
        typer.Option("--slow", metavar="BYTES", help="Read no more a second.", rich_help_panel=_NETWORK),
    ] = None,
    drop_at_s: Annotated[
        float | None, typer.Option("--drop", metavar="AT", help="Reset the connection.", rich_help_panel=_NETWORK)
    ] = None,
    half_open_at_s: Annotated[
        float | None,
        typer.Option("--half-open", metavar="AT", help="Be gone without a word.", rich_help_panel=_NETWORK),
    ] = None,
    timeout_s: Annotated[
        float,
        typer.Option(
            "--timeout", metavar="S", min=0, help="How long an answer may take to begin.", rich_help_panel=_PATIENCE
        ),
    ] = 15.0,
    quiet_s: Annotated[
        float,
        typer.Option(
            "--quiet", metavar="S", min=0, help="After how long a silence it is over.", rich_help_panel=_PATIENCE
        ),
    ] = 2.0,
    limit_s: Annotated[
        float,
        typer.Option("--limit", metavar="S", min=0, help="When one without end is cut off.", rich_help_panel=_PATIENCE),
    ] = 120.0,
    output_path: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="WAV", help="What was said (left), heard (right).", rich_help_panel=_OUTPUT
        ),
    ] = None,
    report_path: Annotated[
        Path | None,
        typer.Option("--report", metavar="HTML", help="The report as one page.", rich_help_panel=_OUTPUT),
    ] = None,
    events_path: Annotated[
        Path | None, typer.Option("--events", metavar="JSONL", help="The events.", rich_help_panel=_OUTPUT)
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="All that happened, for report and replay.", rich_help_panel=_OUTPUT),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as one JSON object.", rich_help_panel=_OUTPUT)
    ] = False,
    compare: Annotated[
        bool,
        typer.Option("--compare", help="Tell how much of the question comes back: 1 is all.", rich_help_panel=_OUTPUT),
    ] = False,
    check: Annotated[
        list[str] | None,
        typer.Option(
            metavar="EXPRESSION", help="Such as 'gaps == 0 and answer_s < 1'; repeatable.", rich_help_panel=_OUTPUT
        ),
    ] = None,
    cafile: Annotated[
        Path | None, typer.Option("--cafile", metavar="PEM", help="Certificates to trust.", rich_help_panel=_TLS)
    ] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Trust any certificate.", rich_help_panel=_TLS)] = False,
) -> None:
    """Call a server as a Vonage Video session does: say something in real time, and hear the answer.

    The exit code is 1 where there was no connection, the server broke it off, its frames were wrong or too many, or a
    check does not hold; 130 after Ctrl-C, and what there is, is written.
    """
    from ..simulator import Patience, Setup
    from ..simulator.check import Check
    from .plan import Manner, at_for, faults_of, plan_calls, plan_microphone, plan_script
    from .simulating import make_calls
    from .tls import client_tls
    from .view import live_lines

    try:
        if sum((bool(inputs), script is not None, mic)) != 1:
            raise CommandError("say what to say: --input FILE, --script YAML or --mic")
        for written in (output_path, report_path, events_path):
            check_output(inputs or [], written)
        json_audio = json_transport(transport, audio_field, answer_field)
        setup = Setup(
            rate_hz=rate_hz or 16_000,
            frame_ms=frame_ms,
            transport=json_audio,
            headers=read_headers(header or []),
            router=router,
            first_s=first_s,
            silence=silence,
            repeats_header=repeat_header,
        )
        manner = Manner(
            greeting=greeting,
            delay_s=delay_s,
            barge_in_s=barge_in_s,
            muted=at_for("--mute", mute),
            keys=press,
        )
        if script is not None:
            if not manner.is_plain or mix:
                raise CommandError("how the caller behaves stands in the script: leave the other options out")
            plans = plan_script(script, setup, rate_hz=rate_hz, streams=streams)
        elif mic:
            plans = plan_microphone(setup, manner, limit_s=limit_s, streams=streams)
        else:
            plans = plan_calls(inputs or [], setup, manner, rate_hz=rate_hz, streams=streams, mix=mix)
        checks = [Check(expression) for expression in check or []]
        with nullcontext() if as_json else live_lines() as on_progress:
            made = make_calls(
                target,
                plans,
                path=path,
                patience=Patience(within_s=timeout_s, quiet_s=quiet_s, limit_s=limit_s),
                faults=faults_of(
                    delay_s=net_delay_s,
                    jitter_s=jitter_s,
                    stalls=[pair for one in stall or [] if (pair := at_for("--stall", one))],
                    slow_bytes_s=slow_bytes_s,
                    drop_at_s=drop_at_s,
                    half_open_at_s=half_open_at_s,
                ),
                ssl_context=client_tls(target, cafile, insecure=insecure),
                compare=compare,
                with_devices=mic,
                on_progress=on_progress,
            )
        ok = _tell(made, checks, as_json, output_path, report_path, events_path, record)
    except AudioConnectorStartServerError as exc:
        refuse(exc, FAILED)
    except (AudioConnectorError, OSError) as exc:
        refuse(exc)
    except KeyboardInterrupt:  # before the call, or a second time, while what there is was written
        raise typer.Exit(INTERRUPTED) from None
    if made.is_interrupted:
        raise typer.Exit(INTERRUPTED)
    if not ok:
        raise typer.Exit(FAILED)


def _tell(
    made: Any,
    checks: list[Any],
    as_json: bool,
    output_path: Path | None,
    report_path: Path | None,
    events_path: Path | None,
    record: Path | None,
) -> bool:
    """Write and print what came of the calls; whether all is well."""
    from . import outputs
    from .view import print_checks, print_report, print_reports

    sounds = [] if output_path is None else outputs.write_sound(output_path, made.recordings)
    if report_path is not None:
        outputs.write_page(report_path, made.recordings, made.reports, "Simulated call")
    if events_path is not None:
        outputs.write_events(events_path, made.recordings)
    if record is not None:
        outputs.write_recordings(record, made.recordings)
    results = outputs.run_checks(checks, made.reports) if checks else []
    if as_json:
        values = [report.to_dict() for report in made.reports]
        whole: dict[str, Any] = values[0] if len(values) == 1 else {"calls": values}
        if results:
            whole = {**whole, "checks": [{"ok": result.ok, "text": result.text} for result in results]}
        print(json.dumps(whole))
    else:
        written = [one for one in (report_path, events_path, record) if one is not None]
        if len(made.reports) == 1:
            print_report(made.reports[0], *sounds)
        else:
            print_reports(made.reports)
        print_checks(results, written)
    return all(report.ok for report in made.reports) and all(result.ok for result in results)
