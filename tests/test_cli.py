import base64
import json
import math
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import wave
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from typer.testing import CliRunner
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from vonage_audio_connector_server import __version__
from vonage_audio_connector_server.cli import main
from vonage_audio_connector_server.cli.commands import app

EXAMPLES = Path(__file__).parent.parent / "examples"
RUN = (sys.executable, "-c", "from vonage_audio_connector_server.cli import main; main()")
FAST = ["--quiet", "0.2", "--timeout", "0.3"]
BOT = """
async def on_connect(client):
    async for message in client:
        if isinstance(message, bytes):
            await client.send_audio_buffer(message)
number = 7
def no_client(): ...
"""

Handler = Callable[[ServerConnection], None]


@pytest.fixture
def serving() -> Iterator[Callable[[Handler], str]]:
    """`serving(handler)` starts a server in a thread and returns its url."""
    started = []

    def start(handler: Handler) -> str:
        server = serve(handler, "127.0.0.1", 0, compression=None)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        started.append((server, thread))
        return f"ws://127.0.0.1:{server.socket.getsockname()[1]}"

    yield start
    for server, thread in started:
        server.shutdown()
        thread.join()


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    """A file with 0.3 s of a tone at 8 kHz."""
    path = tmp_path / "speech.wav"
    pcm = array("h", [round(9000 * math.sin(0.3 * at)) for at in range(2400)]).tobytes()
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(pcm)
    return path


@pytest.fixture
def bot(tmp_path: Path) -> Path:
    path = tmp_path / "a_bot.py"
    path.write_text(BOT)
    return path


@pytest.fixture(autouse=True)
def _restore_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `serve` puts in front of the import path goes away again."""
    monkeypatch.setattr(sys, "path", list(sys.path))


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


def echo(websocket: ServerConnection) -> None:
    try:
        for message in websocket:
            if isinstance(message, bytes):
                websocket.send(message)
    except ConnectionClosed:
        pass  # while it was sending


def echo_json(receive_field: str, send_field: str) -> Handler:
    def handler(websocket: ServerConnection) -> None:
        try:
            for message in websocket:
                data = json.loads(message)
                if receive_field in data:
                    pcm = base64.b64decode(data[receive_field], validate=True)
                    websocket.send(json.dumps({send_field: base64.b64encode(pcm).decode()}))
        except ConnectionClosed:
            pass  # while it was sending

    return handler


def in_one_line(error: str) -> str:
    assert error.count("\n") == 1
    assert error.startswith("Error: ")
    return error


def test_help_and_version() -> None:
    code, out, _ = run("--help")
    assert code == 0
    assert "simulate" in out
    assert "serve" in out
    assert run("simulate", "--help")[0] == run("serve", "-h")[0] == 0
    assert run("--version") == (0, f"vonage-audio-connector-server {__version__}\n", "")


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys, vonage_audio_connector_server.cli.commands;"
        "print({'numpy', 'soxr', 'websockets', 'starlette', 'uvicorn', 'anyio'} & set(sys.modules))"
    )

    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    assert out == "set()\n"


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra_it_is_named(
    missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)

    with pytest.raises(SystemExit) as caught:
        main()

    assert caught.value.code == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "pip install 'vonage-audio-connector-server[cli]'" in told.err
    assert told.err.count("\n") == 1


class TestSimulate:
    def test_json_is_one_object_and_the_answer_is_written(
        self, serving: Callable[[Handler], str], speech: Path, tmp_path: Path
    ) -> None:
        heard = tmp_path / "heard.wav"

        code, out, error = run(
            "simulate", serving(echo), "--input", speech, "--output", heard, "--json", "--compare", *FAST
        )

        report = json.loads(out)
        assert (code, error) == (0, "")
        assert (report["ok"], report["outcome"], report["rate_hz"]) == (True, "answered", 8000)
        assert report["frames_heard"] >= 15
        assert report["wrong_size_frames"] == report["overflow_frames"] == 0
        assert report["same_as_question"] > 0.9
        with wave.open(str(heard)) as file:
            assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (
                8000,
                2,
                2,
            )  # what was said, and what was heard
            assert file.getnframes() / 8000 == pytest.approx(report["duration_s"], abs=0.05)

    def test_a_table_for_people(self, serving: Callable[[Handler], str], speech: Path) -> None:
        code, out, error = run("simulate", serving(echo), "--input", speech, *FAST)

        assert (code, error) == (0, "")
        for row in ("answered; closed with 1000", "gaps inside speech", "furthest ahead", "answer after"):
            assert row in out
        for row in ("overflow", "wrong size", "wrong transport"):  # there was nothing of it
            assert row not in out
        assert re.search(r"transport\W+binary, frames of 20 ms", out)

    @pytest.mark.parametrize(
        ("options", "receive_field", "send_field"),
        [
            ([], "audio", "audio"),
            (["--audio-field", "q"], "q", "q"),
            (["--answer-field", "a"], "audio", "a"),
            (["--audio-field", "q", "--answer-field", "a"], "q", "a"),
        ],
    )
    def test_json_transport(
        self,
        serving: Callable[[Handler], str],
        speech: Path,
        options: list[str],
        receive_field: str,
        send_field: str,
    ) -> None:
        url = serving(echo_json(receive_field, send_field))

        code, out, _ = run("simulate", url, "-i", speech, "--transport", "json", *options, "--json", *FAST)

        report = json.loads(out)
        assert (code, report["problems"]) == (0, [])
        assert (report["outcome"], report["transport"], report["frame_ms"]) == ("answered", "json", 20)
        assert report["frames_heard"] >= 10

    def test_audio_in_the_wrong_transport_ends_with_1(self, serving: Callable[[Handler], str], speech: Path) -> None:
        def handler(websocket: ServerConnection) -> None:
            websocket.send(bytes(320))
            for _ in websocket:
                pass

        code, out, _ = run("simulate", serving(handler), "-i", speech, "--transport", "json", *FAST)

        assert code == 1
        assert re.search(r"wrong transport\W+1 frames", out)
        assert "1 of the server's messages carried audio, but not as JSON texts" in out

    def test_the_call_may_have_another_rate_and_shorter_frames(
        self, serving: Callable[[Handler], str], speech: Path, tmp_path: Path
    ) -> None:
        seen: list[str | bytes] = []

        def handler(websocket: ServerConnection) -> None:
            try:
                for message in websocket:
                    seen.append(message)
                    if isinstance(message, bytes):
                        websocket.send(message)
            except ConnectionClosed:
                pass  # while it was sending

        content = bytearray(speech.read_bytes())
        content[24:28] = (11_025).to_bytes(4, "little")  # its rate: now the recording lasts 0.22 s
        speech.write_bytes(content)
        heard = tmp_path / "heard.wav"

        code, out, error = run(
            "simulate", serving(handler), "-i", speech, "-o", heard, "--rate", "24000", "--frame-ms", "10", "--json",
            *FAST,
        )  # fmt: skip

        report = json.loads(out)
        assert (code, error) == (0, "")
        assert (report["rate_hz"], report["frame_ms"], report["transport"]) == (24_000, 10, "binary")
        assert report["question_end_s"] == pytest.approx(0.27, abs=0.02)  # 0.06 before the question
        assert seen[0] == ' {"content-type":"audio/l16;rate=24000","event":"websocket:connected"}'
        assert {len(message) for message in seen if isinstance(message, bytes)} == {480}
        with wave.open(str(heard)) as file:
            assert file.getframerate() == 24_000
            assert file.getnframes() / 24_000 == pytest.approx(report["duration_s"], abs=0.05)

    def test_without_numpy_another_rate_names_the_extra_before_the_call(
        self, speech: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "numpy", None)

        code, out, error = run("simulate", "ws://127.0.0.1:1", "-i", speech, "--rate", "16000", "--json")

        assert (code, out) == (2, "")
        assert "pip install 'vonage-audio-connector-server[audio]'" in in_one_line(error)

    def test_headers_reach_the_server(self, serving: Callable[[Handler], str], speech: Path) -> None:
        seen: list[str | bytes | None] = []

        def handler(websocket: ServerConnection) -> None:
            assert websocket.request is not None
            seen.extend([websocket.request.headers.get("tenant"), websocket.recv()])

        code, _, _ = run(
            "simulate", serving(handler), "-i", speech, "--header", "tenant=blue", "--header", "q=a=b", "--json", *FAST
        )

        assert code == 0
        assert seen[0] == "blue"
        assert isinstance(seen[1], str)
        assert json.loads(seen[1])["q"] == "a=b"

    def test_wrong_frames_end_with_1(self, serving: Callable[[Handler], str], speech: Path) -> None:
        def handler(websocket: ServerConnection) -> None:
            websocket.send(bytes(160))
            for _ in websocket:
                pass

        url = serving(handler)

        code, out, _ = run("simulate", url, "-i", speech, "--json", *FAST)
        assert code == 1
        assert json.loads(out)["wrong_size_frames"] == 1
        code, out, _ = run("simulate", url, "-i", speech, *FAST)
        assert code == 1
        assert "1 of the server's frames were not 320 bytes long" in out

    def test_a_close_with_an_error_ends_with_1(self, serving: Callable[[Handler], str], speech: Path) -> None:
        code, out, _ = run(
            "simulate", serving(lambda websocket: websocket.close(1011, "boom")), "-i", speech, "--json", *FAST
        )

        assert code == 1
        assert json.loads(out)["problems"] == ["the server closed the connection with 1011 (boom)"]

    def test_nobody_there_ends_with_1(self, speech: Path, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            url = f"ws://127.0.0.1:{listener.getsockname()[1]}"

        heard = tmp_path / "heard.wav"
        heard.write_bytes(b"of an earlier call")

        code, out, _ = run("simulate", url, "-i", speech, "-o", heard, "--json")
        assert code == 1
        assert json.loads(out)["outcome"] == "not connected"
        with wave.open(str(heard)) as file:
            assert file.getnframes() == 0
        code, out, _ = run("simulate", url, "-i", speech)
        assert code == 1
        assert "no connection: " in out

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (["-i", "missing.wav"], "Error: missing.wav: No such file or directory"),
            (["-i", "."], "Error: .: Is a directory"),
            (["-i", "text.wav"], "text.wav is no audio that can be read"),
            (["-i", "speech.wav", "-o", "speech.wav"], "speech.wav would overwrite the file of --input"),
            (["-i", "speech.wav", "-o", "no/heard.wav"], "is no file in an existing folder"),
            (["-i", "speech.wav", "--header", "x"], "--header takes NAME=VALUE, not 'x'"),
            (["-i", "speech.wav", "--header", "event=x"], "'event' can't be the name of a custom header"),
            (["-i", "speech.wav", "--insecure"], "--cafile and --insecure are for wss://"),
            (["-i", "speech.wav", "--rate", "44100"], "rate_hz must be 8000, 16000 or 24000, not 44100"),
            (["-i", "text.wav", "--rate", "16000"], "text.wav is no audio that can be read"),
            (["-i", "speech.wav", "--first-message", "inf"], "first_s must be a finite number of seconds"),
            (["-i", "speech.wav", "--frame-ms", "30"], "frame_ms must be 10 or 20, not 30"),
            (["-i", "speech.wav", "--audio-field", "q"], "--audio-field and --answer-field are for --transport json"),
            (["-i", "speech.wav", "--answer-field", ""], "--audio-field and --answer-field are for --transport json"),
            (["-i", "speech.wav", "--transport", "json", "--audio-field", ""], "receive_field must be a text"),
            (["-i", "speech.wav", "--transport", "json", "--answer-field", "event"], "send_field must be a text"),
        ],
    )
    def test_what_can_not_be_done_is_one_sentence_and_2(
        self, arguments: list[str], told: str, speech: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(speech.parent)
        Path("text.wav").write_text("this is not audio")

        code, out, error = run("simulate", "ws://127.0.0.1:1", *arguments, "--json")

        assert (code, out) == (2, "")
        assert told in in_one_line(error)

    def test_wrong_urls_and_certificates_are_one_sentence_and_2(self, speech: Path) -> None:
        for url, options, told in (
            ("http://127.0.0.1", [], "url must begin with ws:// or wss://"),
            ("wss://127.0.0.1:1", ["--cafile", "missing.pem"], "--cafile missing.pem can't be read: No such file"),
            ("wss://127.0.0.1:1", ["--cafile", str(speech)], "speech.wav can't be used"),
            ("wss://127.0.0.1:1", ["--cafile", str(speech), "--insecure"], "can't go together"),
        ):
            code, out, error = run("simulate", url, "-i", speech, *options)
            assert (code, out) == (2, "")
            assert told in in_one_line(error)

    def test_an_unknown_transport_is_a_usage_error(self, speech: Path) -> None:
        code, out, error = run("simulate", "ws://127.0.0.1:1", "-i", speech, "--transport", "xml")

        assert (code, out) == (2, "")
        assert "binary" in error
        assert "json" in error

    def test_a_missing_input_option_is_a_usage_error(self) -> None:
        code, out, error = run("simulate", "ws://127.0.0.1:1")

        assert (code, out) == (2, "")
        assert "--input" in error


class TestServe:
    def test_it_serves_until_sigint_and_can_be_called(self, bot: Path, speech: Path) -> None:
        for target, folder in ((f"{bot}:on_connect", "/"), ("a_bot:on_connect", bot.parent)):
            with Served(target, folder) as url:
                code, out, _ = run("simulate", url, "-i", speech, "--json", *FAST)
                assert code == 0, out
                assert json.loads(out)["frames_heard"] >= 10

    def test_tls(self, bot: Path, speech: Path, tmp_path: Path) -> None:
        authority = trustme.CA()
        certificate = authority.issue_cert("127.0.0.1")
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
        certificate.private_key_pem.write_to_path(str(tmp_path / "key.pem"))

        with Served(
            f"{bot}:on_connect", "/", "--certfile", str(tmp_path / "cert.pem"), "--keyfile", str(tmp_path / "key.pem")
        ) as url:
            assert url.startswith("wss://")
            assert run("simulate", url, "-i", speech, "--cafile", tmp_path / "ca.pem", *FAST)[0] == 0
            assert run("simulate", url, "-i", speech, "--insecure", *FAST)[0] == 0
            code, out, _ = run("simulate", url, "-i", speech, *FAST)
            assert code == 1
            assert "certificate comes from an authority" in out

    def test_a_port_in_use_ends_with_1(self, bot: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            code, out, error = run("serve", f"{bot}:on_connect", "--port", port)

        assert (code, out) == (1, "")
        assert f"port {port} of 127.0.0.1 is in use" in in_one_line(error)

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            ([":f"], "':f' names nothing"),
            (["no_such_module:f"], "there is no module 'no_such_module'"),
            (["a_bot.no_such:f"], "there is no module 'a_bot.no_such'"),
            (["no_such.py:f"], "there is no file no_such.py"),
            (["a_bot:f"], "a_bot has no 'f'"),
            (["a_bot:number"], "on_connect must be a function that takes one argument, the client"),
            (["a_bot:no_client"], "on_connect must be a function that takes one argument, the client"),
            (["broken.py:f"], "broken.py can't be imported: ZeroDivisionError: division by zero (broken.py, line 2)"),
            (["needy:f"], "needy can't be imported: ModuleNotFoundError: No module named 'no_such_thing' (needy.py"),
            (["misspelt:f"], "misspelt can't be imported: SyntaxError"),
            (["json.py:loads"], "json.py has the name of another module, 'json'"),
            (["a_bot:on_connect", "--keyfile", "key.pem"], "--keyfile needs --certfile"),
            (["a_bot:on_connect", "--certfile", "no.pem"], "--certfile no.pem can't be read: No such file"),
        ],
    )
    def test_what_can_not_be_done_is_one_sentence_and_2(
        self, arguments: list[str], told: str, bot: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(bot.parent)
        Path("broken.py").write_text("x = 1\nx / 0\n")
        Path("needy.py").write_text("import no_such_thing\n")
        Path("misspelt.py").write_text("def f(:\n")
        Path("json.py").write_text("def loads(client): ...\n")

        code, out, error = run("serve", *arguments, "--port", "0")

        assert (code, out) == (2, "")
        assert told in in_one_line(error)


class TestCertificates:
    @pytest.fixture
    def folder(self, bot: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A bot, two certificates with their keys, and what goes wrong with such files."""
        folder = bot.parent
        monkeypatch.chdir(folder)
        authority = trustme.CA()
        for name in ("one", "two"):
            certificate = authority.issue_cert("127.0.0.1")
            certificate.cert_chain_pems[0].write_to_path(str(folder / f"{name}.pem"))
            certificate.private_key_pem.write_to_path(str(folder / f"{name}.key"))
        (folder / "notes.txt").write_text("the certificate is in the other folder")
        (folder / "der.pem").write_bytes(ssl.PEM_cert_to_DER_cert((folder / "one.pem").read_text()))
        for name in ("one.pem", "one.key"):
            lines = (folder / name).read_text().splitlines(keepends=True)
            (folder / f"damaged_{name}").write_text("".join(lines[:2] + lines[3:]))
        key = load_pem_private_key((folder / "one.key").read_bytes(), None)
        locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password"))
        (folder / "locked.key").write_bytes(locked)
        return folder

    @pytest.mark.parametrize(
        ("certfile", "keyfile", "told"),
        [
            ("one.pem", None, "--certfile one.pem has no private key in it: name the file of its key as --keyfile"),
            ("one.pem", "no.key", "--keyfile no.key can't be read: No such file or directory"),
            ("one.pem", ".", "--keyfile . can't be read: Is a directory"),
            (
                "one.pem",
                "two.key",
                "--keyfile two.key can't be used: its private key is not that of the first certificate in one.pem",
            ),
            ("one.key", "one.pem", "--certfile one.key can't be used: it holds a private key and no certificate: are"),
            ("one.pem", "one.pem", "--keyfile one.pem can't be used: it holds a certificate and no private key: are"),
            ("notes.txt", "one.key", "--certfile notes.txt can't be used: it holds no certificate in PEM form"),
            ("one.pem", "notes.txt", "--keyfile notes.txt can't be used: it holds no private key in PEM form"),
            ("der.pem", "one.key", "--certfile der.pem can't be used: it is not in PEM form, which is text: convert"),
            ("damaged_one.pem", "one.key", "--certfile damaged_one.pem can't be used: a certificate in it is damaged"),
            ("one.pem", "damaged_one.key", "--keyfile damaged_one.key can't be used: the private key in it is damaged"),
        ],
    )
    def test_what_a_server_can_not_use_is_one_sentence(
        self, certfile: str, keyfile: str | None, told: str, folder: Path
    ) -> None:
        options = ["--certfile", certfile] + ([] if keyfile is None else ["--keyfile", keyfile])

        code, out, error = run("serve", "a_bot:on_connect", "--port", "0", *options)

        assert (code, out) == (2, "")
        assert told in in_one_line(error)
        assert "PEM lib" not in error

    def test_a_key_with_a_password_is_named_where_nobody_can_type_it(self, folder: Path) -> None:
        served = subprocess.run(
            [*RUN, "serve", "a_bot:on_connect", "--port", "0", "--certfile", "one.pem", "--keyfile", "locked.key"],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            start_new_session=True,  # else OpenSSL asks the terminal of who runs the tests
            timeout=20,
            check=False,
        )

        assert served.returncode == 2
        assert "Error: --keyfile locked.key can't be used: its private key has a password" in served.stderr
        assert "Traceback" not in served.stderr

    @pytest.mark.parametrize(
        ("cafile", "told"),
        [
            ("one.key", "--cafile one.key can't be used: it holds a private key and no certificate"),
            ("notes.txt", "--cafile notes.txt can't be used: it holds no certificate in PEM form"),
            ("damaged_one.pem", "--cafile damaged_one.pem can't be used: a certificate in it is damaged"),
        ],
    )
    def test_what_a_call_can_not_use_is_one_sentence(self, cafile: str, told: str, folder: Path, speech: Path) -> None:
        code, out, error = run("simulate", "wss://127.0.0.1:1", "-i", speech, "--cafile", cafile)

        assert (code, out) == (2, "")
        assert told in in_one_line(error)

    def test_a_call_tells_what_is_wrong_with_a_certificate(self, speech: Path, tmp_path: Path) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("bot.example.com").configure_cert(tls)
        with serve(echo, "127.0.0.1", 0, compression=None, ssl=tls) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                url = f"wss://127.0.0.1:{server.socket.getsockname()[1]}"
                other_host = run("simulate", url, "-i", speech, "--cafile", tmp_path / "ca.pem", "--json", *FAST)
                not_trusted = run("simulate", url, "-i", speech, "--json", *FAST)
            finally:
                server.shutdown()
                thread.join()

        for (code, out, _), told in (
            (other_host, "no connection: the server's certificate is not for 127.0.0.1: call the server by a name"),
            (not_trusted, "no connection: the server's certificate comes from an authority that is not trusted here"),
        ):
            assert code == 1
            assert json.loads(out)["error"].startswith(told)


class Served:
    """`with Served(target, folder) as url`: the command `serve` in a process of its own, ended by SIGINT."""

    def __init__(self, target: str, folder: str | Path, *options: str) -> None:
        self._process = subprocess.Popen(
            [*RUN, "serve", target, "--port", "0", *options],
            cwd=folder,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )

    def __enter__(self) -> str:
        assert self._process.stderr is not None
        line = self._process.stderr.readline()
        found = re.search(r"wss?://\S+", line)
        assert found is not None, line + self._process.stderr.read()
        return found[0]

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGINT)
        rest = self._process.communicate(timeout=20)[1]
        assert self._process.returncode == 0, rest
        assert "Traceback" not in rest


class TestReplayAndReport:
    @pytest.fixture
    def folder(self, bot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        for name in (bot.stem, "other"):  # of the test before
            monkeypatch.delitem(sys.modules, name, raising=False)
        folder = tmp_path / "recorded"
        speech = EXAMPLES / "audio" / "librivox-2.wav"
        code, _, error = run(
            "simulate", f"{bot}:on_connect", "--input", speech, "--record", folder, "--quiet", "0.3", "--timeout", "0.3"
        )
        assert (code, error) == (0, "")
        return folder

    def test_the_same_program_gives_the_same_answer(self, bot: Path, folder: Path) -> None:
        assert run("replay", folder, f"{bot}:on_connect") == (0, "The answer is the same.\n", "")

    def test_another_program_gives_another(self, folder: Path, tmp_path: Path) -> None:
        page, sound, again = tmp_path / "both.html", tmp_path / "now.wav", tmp_path / "again"
        other = tmp_path / "other.py"
        other.write_text('async def on_connect(client):\n    client.send_json_packet({"other": 1})\n')

        code, out, error = run(
            "replay", folder, f"{other}:on_connect", "--report", page, "--output", sound, "--record", again, "--json"
        )

        told = json.loads(out)
        assert (code, error, told["same"]) == (1, "", False)
        assert told["sentence"].startswith("The answer differs from 0.")
        assert page.stat().st_size > 100_000
        assert sound.stat().st_size > 10_000
        assert run("report", again, "--json")[0] == 0

    def test_the_report_of_one_and_of_several(self, folder: Path, tmp_path: Path) -> None:
        code, out, error = run("report", folder, "--check", "duration_s > 1")
        assert (code, error) == (0, "")
        assert "duration_s > 1 is true" in out
        assert (tmp_path / "recorded.html").stat().st_size > 100_000

        many = tmp_path / "many"
        many.mkdir()
        for name in ("a", "b"):
            shutil.copytree(folder, many / name)
        code, out, _ = run("report", many, "--json", "--check", "streams == 3")
        assert (code, len(json.loads(out)["calls"])) == (1, 2)

    def test_what_is_no_recording_is_told(self, bot: Path, tmp_path: Path) -> None:
        for command in (["replay", tmp_path, f"{bot}:on_connect"], ["report", tmp_path]):
            code, out, error = run(*command)
            assert (code, out) == (2, "")
            assert error.startswith("Error: ")

    def test_a_program_that_lets_nobody_in_is_told(self, folder: Path, tmp_path: Path) -> None:
        guarded = tmp_path / "other.py"
        guarded.write_text(
            "from vonage_audio_connector_server import AudioConnector\n"
            "connector = AudioConnector(lambda client: None, authorize=lambda info: False)\n"
        )

        code, out, error = run("replay", folder, f"{guarded}:connector")

        assert (code, out) == (2, "")
        assert in_one_line(error).startswith("Error: the server refused the connection with HTTP 403")
