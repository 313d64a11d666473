"""The direction of the imports: a module of ours imports its own package and what stands below it, nothing else."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = "vonage_audio_connector_server"
SRC = Path(__file__).parent.parent / "src" / ROOT

ROWS = [
    "errors",
    "models",
    "outcomes",
    "core direct",
    "config door inbox picows_parser stepping simulator sweeper uvicorn_protocol watchdog",
]
ROWS += [
    "entrance home picows_stream tokens writer",
    "picows_protocol reader",
    "connection",
    "elsewhere",
    "playback",
    "client",
    "app console",
    "server",
]
ROWS += ["video", "cli", "__main__"]
RANKS = {"": -1} | {name: rank for rank, row in enumerate(ROWS) for name in row.split()}  # "": the package itself

NO_IO = {"asyncio", "anyio", "trio", "time", "socket", "starlette", "uvicorn"}
FORBIDDEN = {"": NO_IO, "errors": NO_IO, "models": NO_IO, "core": NO_IO, "stepping": {"anyio", "trio", "starlette"}}
FORBIDDEN |= {name: {"asyncio"} for name in ("home", "writer", "reader", "connection", "elsewhere", "client", "app")}

FILES = sorted(SRC.rglob("*.py"))


def imports(node: ast.AST, package: list[str]) -> Iterator[str]:
    """The full names that code below `node` imports, whenever it runs; those for type checkers alone are left out."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            above = package[: len(package) + 1 - child.level] if child.level else []
            yield from (".".join([*above, *filter(None, [child.module]), alias.name]) for alias in child.names)
        elif isinstance(child, ast.If) and ast.unparse(child.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            yield from imports(ast.Module(child.orelse, []), package)
        else:
            yield from imports(child, package)


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
        ("simulator", "from ..stepping import call"),
        ("simulator", "from ..connection import Connection"),
        ("client", "import asyncio.events"),
        ("client", "from . import Video"),
        ("errors", "if TYPE_CHECKING:\n    pass\nelse:\n    from .models import AudioFormat"),
    ],
)
def test_a_wrong_import_is_found(part: str, code: str) -> None:
    package = [ROOT, part] if part in ("core", "simulator") else [ROOT]
    assert len(list(breaches(part, imports(ast.parse(code), package)))) == 1
