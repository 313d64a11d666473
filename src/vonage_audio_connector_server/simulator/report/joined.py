"""One call, recorded by both sides in one process: what the router saw, with what only the server knows."""

from __future__ import annotations

from ...recording import Kind, Recording

_OF_THE_SERVER = ("gap", "log", "error", "stats")


def joined(router: Recording, server: Recording) -> Recording:
    """The router's recording with the server's gaps, log and errors in it, on the router's time line.

    Both must have been recorded on one clock (`origin_s`); without it, both are taken to begin at the same time.
    """
    shift_s = float(server.meta.get("origin_s", 0.0)) - float(router.meta.get("origin_s", 0.0))
    if "origin_s" not in server.meta or "origin_s" not in router.meta:
        shift_s = 0.0
    both = Recording(dict(router.meta), list(router.entries))
    for entry in server.entries:
        if entry.kind is Kind.NOTE and (name := entry.data.get("note")) in _OF_THE_SERVER:
            data = {key: value for key, value in entry.data.items() if key != "note"}
            for key in ("since_s", "until_s"):
                if isinstance(data.get(key), int | float):
                    data[key] += shift_s
            both.note(entry.at_s + shift_s, name, **data)
    both.entries.sort(key=lambda entry: entry.at_s)
    return both
