"""A server of our own: uvicorn in the caller's event loop, on sockets that are bound before it starts.

It leaves signal handlers and logging to the application. This is the one part that needs asyncio, because uvicorn does.
"""
