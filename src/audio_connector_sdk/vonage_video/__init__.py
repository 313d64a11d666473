"""The old place of `Video`."""

from typing import TYPE_CHECKING

from .. import __version__ as __version__
from .._moved import moved
from . import core as core
from . import errors as errors
from . import models as models
from . import video as video

__all__ = ["Video"]

if TYPE_CHECKING:
    from vonage_audio_connector_server import Video
else:
    __getattr__, __dir__ = moved(__name__, __all__)
