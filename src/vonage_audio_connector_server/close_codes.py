"""Close codes of WebSockets (RFC 6455 §7.4.1, and IANA's registry), as far as this library sends or explains them."""

from .errors import AudioConnectorConfigError

NORMAL = 1000
GOING_AWAY = 1001
PROTOCOL_ERROR = 1002
NO_STATUS = 1005
"""Never on the wire: stands for a close frame without a code."""
ABNORMAL = 1006
"""Never on the wire: stands for a socket that is gone without a close frame."""
INVALID_DATA = 1007
POLICY_VIOLATION = 1008
TOO_BIG = 1009
INTERNAL_ERROR = 1011
SERVICE_RESTART = 1012

WENT_WELL = (NORMAL, GOING_AWAY, NO_STATUS)
"""With these a connection is closed that went well."""

_MAY_BE_SENT = frozenset((1000, 1001, 1003, *range(1007, 1015)))


def check_close(code: object, reason: object) -> None:
    """Refuse what a close frame of ours can't have.

    Raises:
        AudioConnectorConfigError: naming it.
    """
    if type(code) is not int or (code not in _MAY_BE_SENT and not 3000 <= code <= 4999):
        raise AudioConnectorConfigError(f"code must be a close code that may be sent, such as 1000, not {code!r}")
    if not isinstance(reason, str):
        raise AudioConnectorConfigError(f"reason must be a text, not {reason!r}")
    try:
        is_short = len(reason.encode()) <= 123
    except UnicodeEncodeError as exc:
        raise AudioConnectorConfigError(f"reason can't be written as UTF-8: {exc.reason}") from exc
    if not is_short:
        raise AudioConnectorConfigError("reason must be at most 123 bytes long in UTF-8")
