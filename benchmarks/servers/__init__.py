"""One program for each peer, written as its users write it. `python -m benchmarks.servers.NAME ROLE PORT [VARIANT]`.

Roles: `in` counts what comes; `echo` sends each frame back; `play` answers the first frame of a connection with 15 s of
audio; `barge-in` is `echo`, but answers a frame that stands for an interruption with a flush and a new long answer.
"""
