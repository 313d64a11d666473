"""The import path of this library up to 0.1.1, so that programs of that time run unchanged.

Only old places of names may live in this package. Each name is taken from `vonage_audio_connector_server` when it is
used, with a DeprecationWarning that says from where to import it now. Importing the package does nothing else.
"""

from vonage_audio_connector_server import __version__ as __version__
