"""Which connector of a program is meant: the one that it is, or the only one that is in it."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

from ..asgi import AudioConnector
from .target import CommandError


def connector_of(app: object, module: ModuleType | None, name: str) -> AudioConnector:
    """The only connector of an application.

    Args:
        app: the application.
        module: in which it is defined: an endpoint of its own may use a connector that stands in no route.
        name: of the program, for the error.

    Raises:
        CommandError: there is none that can be found, or there are several.
    """
    found = list({id(one): one for one in _connectors(app)}.values())
    if not found and module is not None:
        found = [one for one in vars(module).values() if isinstance(one, AudioConnector)]
    if len(found) != 1:
        what = "several connectors" if found else "no connector that can be found"
        raise CommandError(f"{name} has {what}: name the one that is meant, as MODULE:CONNECTOR")
    return found[0]


def _connectors(app: Any) -> Iterator[AudioConnector]:
    """Those that an application is, wraps, or has in its routes."""
    while app is not None and not isinstance(app, AudioConnector):
        for route in getattr(app, "routes", ()):
            for part in (getattr(route, "app", None), getattr(route, "endpoint", None)):
                yield from _connectors(part)
        app = getattr(app, "app", None)
    if app is not None:
        yield app
