"""How an old place hands out its names: from the new place, when they are used, with a warning."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import vonage_audio_connector_server as new_place

_RENAMED = {"AudioConnectorConnection": "Client", "VideoError": "AudioConnectorError"}


def moved(module: str, names: Sequence[str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The `__getattr__` and the `__dir__` (PEP 562) of the module of this name, which had these names."""
    new_names = (f"{_RENAMED[name]} as {name}" if name in _RENAMED else name for name in names)
    # The same words for all names: so Python shows a statement that imports several of them one warning.
    message = f"{module} has moved: from {new_place.__name__} import {', '.join(new_names)}"

    def get(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        # `from package import name` asks twice, and first from inside the import system.
        if sys._getframe(1).f_globals.get("__name__") != "importlib._bootstrap":
            warnings.warn(message, DeprecationWarning, stacklevel=2)
        return getattr(new_place, _RENAMED.get(name, name))

    def list_names() -> list[str]:
        return sorted({*vars(sys.modules[module]), *names})

    return get, list_names
