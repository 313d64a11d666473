"""From the files of `--certfile`, `--keyfile` and `--cafile` to what ssl takes. What can't be used is a `CommandError`.

OpenSSL says `PEM lib` of nearly all that may be wrong with a file, so the files are looked at first.
"""

from __future__ import annotations

import re
import ssl
from pathlib import Path

from .target import CommandError

_CERTIFICATE = re.compile(rb"-----BEGIN (X509 |TRUSTED )?CERTIFICATE-----")
_KEY = re.compile(rb"-----BEGIN ([A-Z0-9]+ )*PRIVATE KEY-----")
_PASSWORD = re.compile(rb"-----BEGIN ENCRYPTED PRIVATE KEY-----|^Proc-Type: 4,ENCRYPTED", re.MULTILINE)


def client_tls(url: str, cafile: Path | None, *, insecure: bool) -> ssl.SSLContext | None:
    """Whom a call trusts; None: the system's certificates."""
    if cafile is None and not insecure:
        return None
    if not url.lower().startswith("wss://"):
        raise CommandError("--cafile and --insecure are for wss://")
    if cafile is not None and insecure:
        raise CommandError("--cafile and --insecure can't go together")
    context = ssl.create_default_context()
    if cafile is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    _load_certificates(context, "--cafile", cafile)
    return context


def server_tls(certfile: Path | None, keyfile: Path | None) -> ssl.SSLContext | None:
    """What a server shows its callers; None: no TLS."""
    if certfile is None:
        if keyfile is not None:
            raise CommandError("--keyfile needs --certfile")
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    _load_certificates(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), "--certfile", certfile)  # else any fault is "PEM lib"
    key = _read("--certfile", certfile) if keyfile is None else _read("--keyfile", keyfile)
    if not _KEY.search(key):
        if keyfile is None:
            raise CommandError(f"--certfile {certfile} has no private key in it: name the file of its key as --keyfile")
        raise CommandError(f"--keyfile {keyfile} can't be used: {_lacking('private key', key)}")
    option = f"--certfile {certfile}" if keyfile is None else f"--keyfile {keyfile}"
    try:
        context.load_cert_chain(certfile, keyfile)
    except OSError as exc:  # ssl's own errors are of this kind, too
        reason = exc.reason if isinstance(exc, ssl.SSLError) else None
        if _PASSWORD.search(key):
            why = "its private key has a password, which was not given or is wrong: write it anew without one"
            raise CommandError(f"{option} can't be used: {why} (openssl pkey -in IN.pem -out OUT.pem)") from exc
        if reason == "KEY_VALUES_MISMATCH":
            why = f"its private key is not that of the first certificate in {certfile}: name the key it was made with"
            raise CommandError(f"{option} can't be used: {why}") from exc
        if reason is not None:  # such as a key that is too small
            why = f"OpenSSL refuses it ({reason.replace('_', ' ').lower()}): have a stronger one made"
            raise CommandError(f"--certfile {certfile} can't be used: {why}") from exc
        raise CommandError(f"{option} can't be used: the private key in it is damaged: copy it anew") from exc
    return context


def _read(option: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise CommandError(f"{option} {path} can't be read: {exc.strerror}") from exc


def _load_certificates(context: ssl.SSLContext, option: str, path: Path) -> None:
    content = _read(option, path)
    if not _CERTIFICATE.search(content):
        raise CommandError(f"{option} {path} can't be used: {_lacking('certificate', content)}")
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as exc:
        raise CommandError(f"{option} {path} can't be used: a certificate in it is damaged: copy it anew") from exc


def _lacking(wanted: str, content: bytes) -> str:
    """Say what a file is in which something is missing."""
    if _KEY.search(content):
        return f"it holds a private key and no {wanted}: are the files mixed up?"
    if _CERTIFICATE.search(content):
        return f"it holds a certificate and no {wanted}: are the files mixed up?"
    if content.startswith(b"\x30"):  # DER, the binary form
        return "it is not in PEM form, which is text: convert it (openssl x509 -inform der, openssl pkey -inform der)"
    return f"it holds no {wanted} in PEM form, which is text with a line '-----BEGIN {wanted.upper()}-----'"
