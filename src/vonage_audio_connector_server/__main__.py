"""`python -m vonage_audio_connector_server` is the command `vonage-audio-connector`."""

from vonage_audio_connector_server.cli import main

if __name__ == "__main__":
    main()
