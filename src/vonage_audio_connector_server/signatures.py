"""Whether a function can be called with what it will get: told when it is given, and not in the middle of a call."""

from __future__ import annotations

import inspect


def takes(function: object, *arguments: object) -> bool:
    """Whether it can be called with these arguments."""
    if not callable(function):
        return False
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError:
        return False
    except ValueError:  # a builtin without a signature
        return True
    return True
