"""Tokens that open one connection: none but ours get in, each once, whatever strangers, threads and clocks do."""

from __future__ import annotations

import base64
import hmac
import logging
import random
import string
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from visitors import Clock, all_shown, bringing, seen

from vonage_audio_connector_server.admission.tokens import (
    MAX_TTL_S,
    MAX_URI_CHARACTERS,
    MemoryReplayStore,
    OneTimeTokens,
)
from vonage_audio_connector_server.errors import AudioConnectorConfigError

KEY = b"the key that minter and door share"
OTHER_KEY = "another key, of which no one here knows"
ALPHABET = string.ascii_letters + string.digits + "-_"


class Recorder:
    """A store that lets everything in and tells what came."""

    def __init__(self) -> None:
        self.added: list[tuple[str, float]] = []

    def add(self, token_id: str, expires_s: float) -> bool:
        self.added.append((token_id, expires_s))
        return True


@pytest.fixture
def clock() -> Clock:
    return Clock()


def unpack(token: str) -> bytes:
    return base64.urlsafe_b64decode(token)


def pack(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode()


def sign(body: bytes, key: bytes = KEY) -> str:
    return pack(body + hmac.digest(key, body, "sha256"))


def test_the_format_of_a_token(clock: Clock) -> None:
    token = OneTimeTokens(KEY, ttl_s=2.5, clock=clock).mint()
    body = unpack(token)[:-32]
    assert len(token) == 76
    assert set(token) <= set(ALPHABET)
    assert token == sign(body)
    assert body[0] == 1
    assert int.from_bytes(body[1:9], "big") == (clock.now_s + 2.5) * 1000
    assert len(body[9:]) == 16


def test_no_two_tokens_are_alike(clock: Clock) -> None:
    tokens = OneTimeTokens(KEY, clock=clock)
    assert len({tokens.mint() for _ in range(1000)}) == 1000


def test_ten_thousand_tokens_that_are_not_good_open_nothing(clock: Clock) -> None:
    dice = random.Random(1)
    store = MemoryReplayStore(clock=clock)
    door = OneTimeTokens(KEY, store=store, clock=clock)
    for used in (old := [door.mint() for _ in range(1000)]):
        assert door(bringing(used)) is True
    stranger = OneTimeTokens(OTHER_KEY, clock=clock)

    def of_another_alphabet() -> str:
        while not {"-", "_"} <= set(token := door.mint()):
            pass
        return base64.b64encode(unpack(token)).decode()

    def flipped() -> str:
        number = int.from_bytes(unpack(door.mint()), "big") ^ 1 << dice.randrange(57 * 8)
        return pack(number.to_bytes(57, "big"))

    def percent_encoded() -> str:
        token, place = door.mint(), dice.randrange(76)
        return f"{token[:place]}%{ord(token[place]):02X}{token[place + 1 :]}"

    def with_a_stranger_inside() -> str:
        token, place = door.mint(), dice.randrange(77)
        return token[:place] + dice.choice("=+/ \n\t.~%\0\xe9é\u0661\u20ac") + token[place:]

    def of_two_halves() -> str:
        return pack(unpack(door.mint())[:25] + unpack(door.mint())[25:])

    def expired() -> str:
        now_s = clock.now_s
        clock.now_s -= 60 + dice.choice([0, 0.001, 1, 3600])
        token = door.mint()
        clock.now_s = now_s
        return token

    def of_another_version() -> str:
        return sign(bytes([dice.choice([0, *range(2, 256)])]) + unpack(door.mint())[1:25])

    makers: list[Callable[[], str]] = [
        lambda: pack(dice.randbytes(57)),
        lambda: "".join(dice.choices(ALPHABET, k=76)),
        lambda: dice.choice(old),
        stranger.mint,
        lambda: door.mint()[: dice.randrange(76)],
        lambda: door.mint() + "".join(dice.choices(ALPHABET, k=dice.randint(1, 8))),
        lambda: door.mint() + dice.choice(["=", "==", "%3D", "\n", "+", "/", ".x", "?"]),
        lambda: dice.choice(ALPHABET) + door.mint(),
        of_another_alphabet,
        flipped,
        percent_encoded,
        with_a_stranger_inside,
        of_two_halves,
        expired,
        of_another_version,
        lambda: door.mint().swapcase(),
        lambda: sign(unpack(door.mint())[:25], b""),
        lambda: sign(unpack(door.mint())[:24]),
        lambda: sign(unpack(door.mint())[:25] + b"\0"),
        lambda: unpack(door.mint()).hex(),
    ]
    for make in makers:
        assert [door(bringing(make())) for _ in range(500)] == [False] * 500
    assert len(store) == 1000  # nothing of it took a place, or pushed one out


def test_only_good_tokens_reach_the_store(clock: Clock) -> None:
    store = Recorder()
    door = OneTimeTokens([KEY, OTHER_KEY], store=store, clock=clock)
    late = door.mint()
    clock.now_s += 60
    good = door.mint()
    for token in (
        late,
        good[:-1],
        good[:-1] + ("-" if good[-1] == "_" else "_"),
        good + "=",
        "",
        sign(b"\2" + unpack(good)[1:25]),
    ):
        assert door(bringing(token)) is False
    assert store.added == []
    assert door(bringing(good)) is True
    assert store.added == [(unpack(good)[9:25].hex(), clock.now_s + 60)]


@settings(deadline=None)
@given(st.text(max_size=100))
def test_nothing_that_is_sent_makes_it_raise(text: str) -> None:
    door = OneTimeTokens(KEY)
    for uri in (text, f"/?token={text}", f"?{text}&token"):
        assert door(seen(uri)) is False


@settings(deadline=None)
@given(st.text(ALPHABET, min_size=76, max_size=76))
def test_every_token_has_one_spelling(text: str) -> None:
    assert pack(unpack(text)) == text


@pytest.mark.parametrize("uri", ["/", "/?", "/?tokens={}", "/?Token={}", "/token={}", "/?to%6ben={}", "/?a;token={}"])
def test_a_token_is_looked_for_in_its_place_alone(uri: str) -> None:
    door = OneTimeTokens(KEY)
    assert door(seen(uri.format(door.mint()))) is False


def test_more_than_one_token_opens_nothing_and_uses_none_up() -> None:
    door = OneTimeTokens(KEY)
    first, second = door.mint(), door.mint()
    for both in (f"/?token={first}&token={second}", f"/?token={first}&token={first}", f"/?token={first}&token"):
        assert door(seen(both)) is False
    assert door(bringing(first)) is True
    assert door(bringing(second)) is True


@pytest.mark.parametrize(("after_s", "let_in"), [(0, True), (59.99, True), (60, False), (61, False), (-3600, True)])
def test_a_token_lives_as_long_as_it_was_minted_for(after_s: float, let_in: bool, clock: Clock) -> None:
    door = OneTimeTokens(KEY, clock=clock)
    token = door.mint()
    clock.now_s += after_s
    assert door(bringing(token)) is let_in


def test_minter_and_door_need_only_share_the_key(clock: Clock) -> None:
    minter = OneTimeTokens(KEY.decode(), ttl_s=MAX_TTL_S, parameter="t", clock=clock)
    door = OneTimeTokens(KEY, ttl_s=1, parameter="t", clock=clock)
    clock.now_s += 0.0006  # a rounding must not cost a token its life
    connection = seen(minter.mint_uri("ws://bot.example.com/room").removeprefix("ws://bot.example.com"))
    assert door.parameter == "t"
    assert door(connection) is True
    assert door(connection) is False


def test_a_key_can_be_changed_without_a_gap() -> None:
    before, between, after = OneTimeTokens(KEY), OneTimeTokens([OTHER_KEY, KEY]), OneTimeTokens((OTHER_KEY,))
    old, new = before.mint(), between.mint()
    assert before(bringing(new)) is False
    assert after(bringing(old)) is False
    assert between(bringing(old)) is True
    assert between(bringing(new)) is True
    assert after(bringing(new)) is True  # its own store has not seen it


@pytest.mark.parametrize("signed_by", [0, 1, 2, None])
def test_every_key_is_compared_in_constant_time(signed_by: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    keys: list[str | bytes] = [KEY, OTHER_KEY, b"k" * 32]
    token = OneTimeTokens("z" * 32 if signed_by is None else keys[signed_by]).mint()
    door = OneTimeTokens(keys)
    compared: list[tuple[int, int]] = []
    real = hmac.compare_digest

    def compare(left: Any, right: Any) -> bool:
        compared.append((len(left), len(right)))
        return real(left, right)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    assert door(bringing(token)) is (signed_by is not None)
    assert compared == [(32, 32)] * 3


# The address of the connect call

CHARACTERS = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in "#?&")


@settings(deadline=None)
@given(
    st.text(CHARACTERS),
    st.lists(st.text(CHARACTERS + "?").filter(lambda field: field.partition("=")[0] != "token"), max_size=5),
)
def test_an_address_keeps_all_it_had(path: str, fields: list[str]) -> None:
    door = OneTimeTokens(KEY)
    uri = f"wss://bot.example.com/{path}" + ("?" + "&".join(fields) if fields else "")
    minted = door.mint_uri(uri)
    query = minted.partition("?")[2].split("&")
    assert minted.startswith(uri)
    assert [field for field in query if field] == [*filter(None, fields), query[-1]]
    assert query[-1].startswith("token=")
    connection = seen(minted.removeprefix("wss://bot.example.com"))
    assert [door(connection), door(connection)] == [True, False]


@pytest.mark.parametrize(
    ("uri", "minted"),
    [
        ("ws://localhost:8765", "ws://localhost:8765?token="),
        ("WSS://[::1]/a%20b/", "WSS://[::1]/a%20b/?token="),
        ("wss://bot.example.com/?", "wss://bot.example.com/?token="),
        ("wss://bot.example.com/?a=1", "wss://bot.example.com/?a=1&token="),
        ("wss://bot.example.com/?a=1&", "wss://bot.example.com/?a=1&token="),
        ("wss://bot.example.com/?a=b?", "wss://bot.example.com/?a=b?&token="),
    ],
)
def test_how_a_token_is_joined_on(uri: str, minted: str) -> None:
    assert OneTimeTokens(KEY).mint_uri(uri)[:-76] == minted


def test_the_longest_address() -> None:
    tokens = OneTimeTokens(KEY)
    longest = "wss://bot.example.com/".ljust(MAX_URI_CHARACTERS - len("?token=") - 76, "x")
    assert len(tokens.mint_uri(longest)) == 2048
    with pytest.raises(AudioConnectorConfigError, match=r"uri has 1966 characters, and 2049 with the token: .* 2048"):
        tokens.mint_uri(longest + "x")


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "bot.example.com",
        "/room",
        "https://bot.example.com/",
        "wss:///room",
        "wss://?a=1",
        "wss://bot.example.com/#part",
        "wss://bot.example.com/ room",
        "wss://bot.example.com/room\n",
        "wss://bot.example.com/räum",
        b"wss://bot.example.com/",
        "wss://bot.example.com/?token=1",
        "wss://bot.example.com/?a=1&token",
        "wss://bot.example.com/?token=&a=1",
    ],
)
def test_an_address_that_can_hold_no_token(uri: Any) -> None:
    with pytest.raises(AudioConnectorConfigError, match=r"^uri (must be a ws:// or wss://|has a parameter token)"):
        OneTimeTokens(KEY).mint_uri(uri)


# Settings, and what is shown

WRONG: list[tuple[str, dict[str, Any]]] = [
    ("key", {"key": "a secret of 31 bytes and no more"[:31]}),
    ("key", {"key": b"a secret that is short"}),
    ("key", {"key": ""}),
    ("key", {"key": None}),
    ("key", {"key": []}),
    ("key", {"key": 32}),
    (r"key\[1\]", {"key": [KEY, "a secret that is short"]}),
    (r"key\[0\]", {"key": bytearray(KEY)}),
    ("ttl_s", {"ttl_s": 0}),
    ("ttl_s", {"ttl_s": -1.0}),
    ("ttl_s", {"ttl_s": MAX_TTL_S + 0.1}),
    ("ttl_s", {"ttl_s": float("nan")}),
    ("ttl_s", {"ttl_s": float("inf")}),
    ("ttl_s", {"ttl_s": True}),
    ("ttl_s", {"ttl_s": "60"}),
    ("parameter", {"parameter": ""}),
    ("parameter", {"parameter": "a=b"}),
    ("parameter", {"parameter": None}),
    ("store", {"store": "redis://user:a secret password@localhost"}),
]


@pytest.mark.parametrize(("field", "arguments"), WRONG)
def test_a_wrong_setting_names_its_field_and_shows_no_secret(field: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(AudioConnectorConfigError, match=rf"^{field} must ") as error:
        OneTimeTokens(**({"key": KEY} | arguments))
    assert "a secret" not in str(error.value)


def test_what_is_just_enough() -> None:
    OneTimeTokens("ä" * 16, ttl_s=MAX_TTL_S)
    OneTimeTokens(b"\0" * 32, ttl_s=0.001)
    OneTimeTokens("\udcff" * 11)  # bytes of the environment that are no UTF-8


def test_the_log_tells_the_reason_and_no_token(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    door = OneTimeTokens(KEY, clock=clock)
    expired = door.mint()
    clock.now_s += 72
    good = door.mint()
    brought = ["good", "used", "expired", "forged", "new version"]
    tokens = [good, good, expired, OneTimeTokens(OTHER_KEY).mint(), sign(b"\7" + unpack(good)[1:25])]
    assert [door(bringing(token)) for token in tokens] == [name == "good" for name in brought]
    assert door(seen("/?tenant=blue")) is False
    assert door(seen(f"/?token={good}&token={good}")) is False
    told = [
        "its token was used before",
        "its token expired 12 s ago",
        "its token is not ours",
        "a token of version 7, not 1",
        "no token",
        "more than one token",
    ]
    assert [record.getMessage() for record in caplog.records] == [f"connection c0ffee: refused, {why}" for why in told]
    assert {(record.name, record.levelno) for record in caplog.records} == {
        ("vonage_audio_connector_server", logging.INFO)
    }


def test_printing_it_shows_no_key_and_no_token() -> None:
    door = OneTimeTokens([KEY, OTHER_KEY], parameter="t")
    token = door.mint()
    assert door(seen(f"/?t={token}")) is True
    assert repr(door) == "<OneTimeTokens in the query parameter t, for 60 s>"
    assert repr(door._store) == "<MemoryReplayStore 1 of 100000>"
    for shown in all_shown(door):
        for secret in (KEY.decode(), OTHER_KEY, KEY.hex(), token, repr(unpack(token))[2:-1], unpack(token)[25:].hex()):
            assert secret not in shown
