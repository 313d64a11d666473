"""Whether an `ssl.SSLContext` can serve at all: told at the start, and not by every caller."""

from __future__ import annotations

import ssl

from ..errors import AudioConnectorStartServerError

_NO_CERTIFICATE = ("NO_SHARED_CIPHER", "NO_CERTIFICATE_ASSIGNED", "NO_SUITABLE_SIGNATURE_ALGORITHM")
"""How OpenSSL says that the server has nothing to show."""


def check_certificate(context: ssl.SSLContext) -> None:
    """Shake hands in memory, because a context doesn't tell what it has.

    Raises:
        AudioConnectorStartServerError: it has no certificate.
    """
    if context.sni_callback is not None:  # it chooses another context for each name
        return
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = client.wrap_bio(to_client, to_server), context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):  # flights of a handshake
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError as exc:
                if exc.reason in _NO_CERTIFICATE:
                    raise AudioConnectorStartServerError(
                        "ssl has no certificate: call load_cert_chain(certfile, keyfile) on the SSLContext first"
                    ) from exc
                return  # it wants more than this client has, such as a certificate of the client's own
