"""One call, from the accept to its end: what the program's handlers get, what it sends, and when all of it ends.

`call.py` owns the parts: the session (`core`), the dispatcher of messages to handlers, and one timer. All of it runs in
the thread of one event loop; `threads.py` is the way in from others. What differs between asyncio and trio stands in
`runtime.py`, and nowhere else.
"""
