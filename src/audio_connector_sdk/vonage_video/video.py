"""The module that defined `Video`, from which editors imported it."""

from typing import TYPE_CHECKING

from .._moved import moved

__all__ = ["Video"]

if TYPE_CHECKING:
    from vonage_audio_connector_server import Video
else:
    __getattr__, __dir__ = moved(__name__, __all__)
