"""How the messages of a call travel: over our own WebSocket protocol class, or over any ASGI server.

A link is chosen once, at the accept. It pushes what comes into a `Receiver` by plain calls, and takes what is to be
sent out of the call's outbox; nothing of it waits. `base.py` says what a link and a receiver owe each other.
"""
