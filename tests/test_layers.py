"""The direction of the imports: a module of ours imports its own package and what stands below it, nothing else.

And no module imports itself, over whatever others: imports for type checkers are counted, too.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = "vonage_audio_connector_server"
SRC = Path(__file__).parent.parent / "src" / ROOT

ROWS = [
    "errors",
    "close_codes extensions formats results signatures sparing",
    "connection_data",
    "core",
    "audio recording",
    "speech",
    "waiter watchdog",
    "runtime steps waits",
    "simulator config",
    "admission link",
    "call",
    "call_recording messages playback utterance",
    "file_playback mixing",
    "speaker",
    "turns",
    "listener",
    "client",
    "participants",
    "session_speech",
    "block calls mounting sessions",
    "door",
    "console live",
    "asgi",
    "integrations",
    "server",
    "video",
    "testing doctor",
    "cli",
    "__main__",
]
RANKS = {"": -1} | {name: rank for rank, row in enumerate(ROWS) for name in row.split()}  # "": the package itself

NO_IO = {"asyncio", "anyio", "trio", "time", "socket", "starlette", "uvicorn"}
FORBIDDEN = {
    "": NO_IO,
    "errors": NO_IO,
    "formats": NO_IO,
    "results": NO_IO,
    "connection_data": NO_IO - {"starlette"},
    "core": NO_IO,
    "audio": NO_IO,
    "speech": NO_IO,
    "steps": {"anyio", "trio", "starlette"},
}
# What differs between asyncio and trio stands in runtime.py; our own protocol class and server are asyncio's.
FORBIDDEN |= {name: {"asyncio", "trio"} for name in ("call", "messages", "playback", "client", "asgi")}
FORBIDDEN["link"] = {"trio"}

FILES = sorted(SRC.rglob("*.py"))


def imports(node: ast.AST, package: list[str], *, typed: bool = False) -> Iterator[str]:
    """The full names that code below `node` imports, whenever it runs; `typed`: and those for type checkers alone."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            above = package[: len(package) + 1 - child.level] if child.level else []
            yield from (".".join([*above, *filter(None, [child.module]), alias.name]) for alias in child.names)
        elif isinstance(child, ast.If) and is_for_types(child):
            if typed:
                yield from imports(child, package, typed=True)
            yield from imports(ast.Module(child.orelse, []), package, typed=typed)
        else:
            yield from imports(child, package, typed=typed)


def is_for_types(node: ast.If) -> bool:
    return ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def breaches(part: str, names: Iterator[str]) -> Iterator[str]:
    for name in names:
        top, _, rest = name.partition(".")
        used = rest.partition(".")[0]
        if top == ROOT and used in RANKS:
            if used != part and RANKS[used] >= RANKS[part]:
                yield f"{part} must not import {used}"
        elif (top == ROOT and used != "__version__") or top in FORBIDDEN.get(part, ()):
            yield f"{part} must not import {name}"


def part_of(file: Path) -> str:
    first = file.relative_to(SRC).parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


def graph() -> dict[str, set[str]]:
    """Which of our modules imports which."""
    names = {}
    for file in FILES:
        parts = [ROOT, *file.relative_to(SRC).with_suffix("").parts]
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    found: dict[str, set[str]] = {}
    for name, file in names.items():
        package = name.split(".") if file.stem == "__init__" else name.split(".")[:-1]
        used = set(imports(ast.parse(file.read_text("utf-8")), package, typed=name != ROOT))  # it names all, for types
        modules = {one if one in names else one.rpartition(".")[0] for one in used}
        found[name] = (modules & names.keys()) - {name, ROOT}
    return found


def test_no_module_imports_itself_over_others() -> None:
    try:
        TopologicalSorter(graph()).prepare()
    except CycleError as exc:
        pytest.fail(f"a cycle: {' -> '.join(exc.args[1])}")


def test_a_cycle_is_found() -> None:
    with pytest.raises(CycleError):
        TopologicalSorter(graph() | {f"{ROOT}.errors": {f"{ROOT}.client"}}).prepare()


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SRC)))
def test_no_file_has_more_than_350_lines(file: Path) -> None:
    assert len(file.read_text("utf-8").splitlines()) <= 350


def test_every_module_has_a_rank() -> None:
    assert {part_of(file) for file in FILES} <= set(RANKS)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SRC)))
def test_imports_point_down(file: Path) -> None:
    package = [ROOT, *file.relative_to(SRC).parts[:-1]]
    assert list(breaches(part_of(file), imports(ast.parse(file.read_text("utf-8")), package))) == []


@pytest.mark.parametrize(
    ("part", "code"),
    [
        ("core", "from ..config import AudioConnectorConfig"),
        ("core", "from .. import config"),
        ("core", "import time"),
        ("core", "def f():\n    from anyio.lowlevel import checkpoint"),
        ("core", f"import {ROOT}.client"),
        ("simulator", "from ..config import AudioConnectorConfig"),
        ("simulator", "from ..call.call import Call"),
        ("client", "import asyncio.events"),
        ("call", "import asyncio"),
        ("link", "from ..call.call import Call"),
        ("client", "from . import Video"),
        ("errors", "if TYPE_CHECKING:\n    pass\nelse:\n    from .formats import AudioFormat"),
    ],
)
def test_a_wrong_import_is_found(part: str, code: str) -> None:
    package = [ROOT, part] if part in ("core", "simulator", "call", "link") else [ROOT]
    assert len(list(breaches(part, imports(ast.parse(code), package)))) == 1
