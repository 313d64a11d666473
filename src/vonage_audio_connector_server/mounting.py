"""`app.mount("/vonage", connector)` answers `/vonage`, too, and not only what lies below it.

Starlette's `Mount` matches `/vonage/…` alone. For HTTP its router redirects to the slash; a WebSocket gets 403, and
the address of a connect call is easily written without it. A mounted application is not asked whether it would answer.
So the first connector of a process teaches `Mount` to ask; for all other applications it does what it did.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from starlette.routing import Match, Mount

_DONE = "_answers_connectors_without_slash"


def answer_without_slash(kind: type) -> None:
    """Let a `Mount` of an application of this kind match its own path, for WebSockets."""
    if getattr(Mount, _DONE, False):
        return
    matches_below = Mount.matches

    def matches(self: Mount, scope: MutableMapping[str, Any]) -> tuple[Match, MutableMapping[str, Any]]:
        match, child_scope = matches_below(self, scope)
        may_be_exact = match is Match.NONE and scope["type"] == "websocket" and not scope["path"].endswith("/")
        if may_be_exact and _holds(self, kind):
            return matches_below(self, {**scope, "path": scope["path"] + "/"})
        return match, child_scope

    Mount.matches = matches  # type: ignore[method-assign]
    setattr(Mount, _DONE, True)


def path_below(scope: MutableMapping[str, Any]) -> str:
    """The path of a request as a mounted application sees it."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path.removeprefix(root) if root and path.startswith(root) else path


def _holds(mount: Mount, kind: type) -> bool:
    """Whether it is one of ours that is mounted, behind whatever middleware of the mount."""
    app: object = mount.app
    while app is not None and not isinstance(app, kind):
        app = getattr(app, "app", None)
    return app is not None
