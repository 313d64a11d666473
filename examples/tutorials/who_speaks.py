"""Prints who speaks when, and in the end who was there. It recognises nothing.

vonage-audio-connector serve examples/tutorials/who_speaks.py:app
"""

from vonage_audio_connector_server import AudioConnector, VideoSession


async def on_session_start(session: VideoSession) -> None:
    print(f"{session.id}: begins", flush=True)
    async for segment in session.speech():
        name = segment.participant.name
        print(f"{session.id}: {name} spoke from {segment.start_s:.1f} to {segment.end_s:.1f} s", flush=True)


def on_session_end(session: VideoSession) -> None:
    for one in session.participants:
        print(f"{session.id}: {one.name} was there for {one.left_s - one.joined_s:.1f} s", flush=True)


app = AudioConnector(on_session_start=on_session_start, on_session_end=on_session_end)
