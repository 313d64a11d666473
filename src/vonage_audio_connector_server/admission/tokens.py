"""Who may connect: tokens that expire and open one connection, and the store that remembers which were used.

The program that makes the connect call mints a token, the server checks it; they share a key and nothing else. No I/O
here: a store that several processes share is the user's own.
"""

from __future__ import annotations

import base64
import hmac
import inspect
import logging
import math
import re
import secrets
import struct
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from heapq import heappop, heappush
from typing import Protocol

from ..connection_data import AudioConnectorConnectionData
from ..errors import AudioConnectorConfigError
from .shared_secret import check_parameter, named, query_values, refuse

logger = logging.getLogger("vonage_audio_connector_server")

MIN_KEY_BYTES = 32
"""RFC 2104 §3: a key shorter than the hash (SHA-256: 32 bytes) weakens the code."""

MAX_TTL_S = 86_400.0
"""Assumed: a day. The router connects within 6 s of the connect call or not at all (documented)."""

MAX_URI_CHARACTERS = 2048
"""What the connect call takes, 15 to 2048 (seen in code: AudioConnectorStartRequest of Vonage's .NET SDK)."""

VERSION = 1

_BODY = struct.Struct(">BQ16s")  # version, expiry in ms of Unix time, random bytes; 32 bytes of HMAC-SHA256 follow
_TOKEN = re.compile(r"[0-9A-Za-z_-]{76}")  # 57 bytes are 76 characters, no bit to spare: each has one spelling
_URI = re.compile(r"wss?://(?![/?])[!\"$-~]+", re.IGNORECASE)  # ASCII without space and "#" (RFC 6455 §3)


class ReplayStore(Protocol):
    """Remembers the tokens that were used. Several processes that serve one address need one in common."""

    def add(self, token_id: str, expires_s: float) -> bool | Awaitable[bool]:
        """Add a token, in one step that nobody comes between; plain or async.

        Only tokens with a right signature, not yet expired, come here. What it raises goes on to whoever asked; the
        connection is refused.

        Args:
            token_id: 32 hexadecimal digits. They are no secret: a token can't be made of them.
            expires_s: when it expires, in seconds of Unix time. Until then it must be remembered.

        Returns:
            True if it was not there, and now is.
        """


class MemoryReplayStore:
    """Remembers used tokens in the memory of this process. May be used from any thread.

    Tokens that have expired are forgotten. A clock that is set back opens no second use: a token that expires no later
    than one already forgotten is refused. So where it is set back by more than tokens live, new ones are refused until
    it has caught up. A restart forgets all: what was used before it and has not expired can be used once more.

    Args:
        max_tokens: so many are remembered, in about 250 bytes each. While that many have not expired, all others are
            refused, and one warning is logged.
        clock: tells Unix time in seconds; the same that the tokens have.

    Raises:
        AudioConnectorConfigError: `max_tokens` is not a positive whole number.
    """

    def __init__(self, max_tokens: int = 100_000, *, clock: Callable[[], float] = time.time) -> None:
        if type(max_tokens) is not int or max_tokens < 1:
            raise AudioConnectorConfigError(f"max_tokens must be a whole number, 1 or more, not {max_tokens!r}")
        self._max_tokens = max_tokens
        self._clock = clock
        self._ids: set[str] = set()
        self._by_expiry: list[tuple[float, str]] = []  # a heap
        self._forgotten_s = -math.inf  # the expiry of the last that was forgotten; no later one had an earlier
        self._told_full = False
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<MemoryReplayStore {len(self)} of {self._max_tokens}>"

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, token_id: str, expires_s: float) -> bool:
        """Add a token; true if it was not there. Never waits long: O(log n).

        False as well for one that has expired, and while the store is full.
        """
        with self._lock:
            now_s = self._clock()
            self._forget(now_s)
            if expires_s <= max(now_s, self._forgotten_s) or token_id in self._ids:
                return False
            if len(self._ids) >= self._max_tokens:
                self._tell_full()
                return False
            self._ids.add(token_id)
            heappush(self._by_expiry, (expires_s, token_id))
            return True

    def _forget(self, now_s: float) -> None:
        for _ in range(2):  # one more than comes in, so that it shrinks; all at once would hold up the event loop
            if self._by_expiry and self._by_expiry[0][0] <= now_s:
                self._forgotten_s, token_id = heappop(self._by_expiry)
                self._ids.remove(token_id)
        if len(self._ids) <= self._max_tokens // 2:  # not at once, or it would tell again and again at the brim
            self._told_full = False

    def _tell_full(self) -> None:
        if not self._told_full:
            self._told_full = True
            logger.warning(
                "%d used tokens are remembered and none has expired: until one does, every new token is refused"
                " as if it was used before; raise max_tokens",
                self._max_tokens,
            )


class OneTimeTokens:
    """Mints tokens that expire and open one connection, and lets in whoever brings one. Made for `authorize`.

        tokens = OneTimeTokens(os.environ["AUDIO_CONNECTOR_KEY"])
        uri = tokens.mint_uri("wss://bot.example.com/")  # for the connect call; in any process that has the key
        AudioConnector(on_connect, authorize=tokens)

    A token is used up when it is checked, whatever becomes of its connection. It opens any path. May be called from
    any thread.

    The clocks of both sides must agree to well within `ttl_s`. A token lives longer or shorter by as much as the
    checking clock is behind or ahead of the minting one; a clock that is set back also revives what expired unused,
    for as long as it was set back. `MemoryReplayStore` says what a set clock means for used tokens.

    Args:
        key: the secret that minting and checking share, at least 32 bytes (a text: of its UTF-8); or several, to change
            it without a gap: the first one mints, all of them check.
        ttl_s: seconds from minting to expiry, up to 86,400. The connect call uses a token at once; 60 by default.
        parameter: the name of the query parameter that holds the token.
        store: remembers used tokens; by default a `MemoryReplayStore` of its own. Several processes need a common one.
        clock: tells Unix time in seconds.

    Attributes:
        parameter: the name of the query parameter that holds the token, which belongs in no log.

    Raises:
        AudioConnectorConfigError: a value is wrong; the message names the field and shows no key.
    """

    def __init__(
        self,
        key: str | bytes | Sequence[str | bytes],
        *,
        ttl_s: float = 60.0,
        parameter: str = "token",
        store: ReplayStore | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        check_parameter("parameter", parameter)
        is_number = isinstance(ttl_s, (int, float)) and not isinstance(ttl_s, bool)
        if not is_number or not 0 < ttl_s <= MAX_TTL_S:
            raise AudioConnectorConfigError(f"ttl_s must be more than 0 and at most {MAX_TTL_S:g} s, not {ttl_s!r}")
        if store is not None and not callable(getattr(store, "add", None)):
            raise AudioConnectorConfigError("store must have a method add, as ReplayStore describes it")
        self.parameter = parameter
        self._macs = [_mac(field, value) for field, value in named("key", key)]
        self._ttl_s = ttl_s
        self._store = MemoryReplayStore(clock=clock) if store is None else store
        self._clock = clock

    def __repr__(self) -> str:
        return f"<OneTimeTokens in the query parameter {self.parameter}, for {self._ttl_s:g} s>"

    def mint(self) -> str:
        """A new token: 76 characters that a URI can hold as they are. It is a secret until it is used."""
        expires_ms = round((self._clock() + self._ttl_s) * 1000)
        body = _BODY.pack(VERSION, expires_ms, secrets.token_bytes(16))
        return base64.urlsafe_b64encode(body + _sign(self._macs[0], body)).decode()

    def mint_uri(self, uri: str) -> str:
        """The `uri` for a connect call, with a new token at the end of its query; all else stays as it is.

        Raises:
            AudioConnectorConfigError: `uri` is no `ws://` or `wss://` address in ASCII without a fragment, has the
                parameter already, or would be longer than the 2048 characters that the connect call takes.
        """
        if not isinstance(uri, str) or not _URI.fullmatch(uri):
            raise AudioConnectorConfigError(
                "uri must be a ws:// or wss:// address without a fragment (#), percent-encoded where it is not ASCII"
            )
        if query_values(uri, self.parameter):
            raise AudioConnectorConfigError(f"uri has a parameter {self.parameter} already: leave it out")
        _, mark, query = uri.partition("?")
        joint = "?" if not mark else "&" if query and not query.endswith("&") else ""
        minted = f"{uri}{joint}{self.parameter}={self.mint()}"
        if len(minted) > MAX_URI_CHARACTERS:
            raise AudioConnectorConfigError(
                f"uri has {len(uri)} characters, and {len(minted)} with the token:"
                f" the connect call takes at most {MAX_URI_CHARACTERS}"
            )
        return minted

    def __call__(self, info: AudioConnectorConnectionData) -> bool | Awaitable[bool]:
        """Whether the connection brings a token of ours for the first time. A refusal is logged at INFO.

        To be awaited where the store's `add` is async. Cancelling that wait leaves open whether the token is used up.

        Raises:
            Exception: what the store raised. It must be taken as a no.
        """
        tokens = query_values(info.uri, self.parameter)
        if len(tokens) != 1:
            return refuse(info, "more than one token" if tokens else "no token")
        body = self._signed_body(tokens[0])
        if body is None:
            return refuse(info, "its token is not ours")
        version, expires_ms, token_id = _BODY.unpack(body)
        if version != VERSION:
            return refuse(info, f"a token of version {version}, not {VERSION}")
        expires_s = expires_ms / 1000
        left_s = expires_s - self._clock()
        if left_s <= 0:
            return refuse(info, f"its token expired {abs(left_s):.0f} s ago")
        added = self._store.add(token_id.hex(), expires_s)
        return _answer_later(info, added) if inspect.isawaitable(added) else _answer(info, added)

    def _signed_body(self, token: str) -> bytes | None:
        """What a token says, if one of our keys signed it."""
        if not _TOKEN.fullmatch(token):
            return None
        packed = base64.urlsafe_b64decode(token)
        body, signature = packed[: _BODY.size], packed[_BODY.size :]
        ours = [hmac.compare_digest(_sign(mac, body), signature) for mac in self._macs]  # all
        return body if any(ours) else None


def _answer(info: AudioConnectorConnectionData, added: bool) -> bool:
    return True if added else refuse(info, "its token was used before")


async def _answer_later(info: AudioConnectorConnectionData, adding: Awaitable[bool]) -> bool:
    return _answer(info, await adding)


def _mac(field: str, key: object) -> hmac.HMAC:
    """The code of a key before any message: unlike the key itself, it shows nothing when somebody prints it."""
    raw = key.encode("utf-8", "surrogatepass") if isinstance(key, str) else key
    if not isinstance(raw, bytes) or len(raw) < MIN_KEY_BYTES:
        raise AudioConnectorConfigError(f"{field} must be bytes or a text of at least {MIN_KEY_BYTES} bytes")
    return hmac.new(raw, digestmod="sha256")


def _sign(mac: hmac.HMAC, body: bytes) -> bytes:
    mac = mac.copy()
    mac.update(body)
    return mac.digest()
