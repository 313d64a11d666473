"""How commands end: 0 all went well · 1 the call or the server failed · 2 it can't be carried out as it was given."""

from __future__ import annotations

from typing import NoReturn

import typer

FAILED, USAGE, INTERRUPTED = 1, 2, 130


def refuse(error: Exception, code: int = USAGE) -> NoReturn:
    """Say in one sentence why the command can't be carried out."""
    sentence = str(error)
    if isinstance(error, OSError) and error.filename is not None:
        sentence = f"{error.filename}: {error.strerror}"
    typer.echo(f"Error: {sentence}", err=True)
    raise typer.Exit(code)
