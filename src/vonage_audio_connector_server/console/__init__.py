"""The page on which one talks to one's program: a router's twin in this process, with a browser as its caller.

It is switched on by `console=True` and off by default. It gets the connector as an ASGI application, and calls it as a
session does.
"""

from __future__ import annotations

from .app import Console, ConsoleMiddleware

__all__ = ["Console", "ConsoleMiddleware"]
