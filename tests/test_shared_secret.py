"""The check for a shared secret: who gets in, that nothing a stranger sends makes it raise, and what it shows."""

from __future__ import annotations

import hmac
import logging
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from visitors import all_shown, seen

from vonage_audio_connector_server.admission.shared_secret import MAX_VALUES, MIN_SECRET_CHARACTERS, SharedSecret
from vonage_audio_connector_server.connection_data import AudioConnectorConnectionData
from vonage_audio_connector_server.errors import AudioConnectorConfigError

SECRET = "correct horse battery+staple"
OTHER = "another-secret-of-ours-7"

PRINTABLE = st.characters(exclude_categories=("C", "Z"))  # what str.isprintable takes, and it takes the space
SECRETS = st.text(PRINTABLE | st.just(" "), min_size=16, max_size=40).filter(lambda text: text == text.strip())


def with_query(raw: str) -> AudioConnectorConnectionData:
    return seen(f"/room/7?tenant=blue&secret={raw}&last=1")


def with_header(*values: bytes) -> AudioConnectorConnectionData:
    return seen("/", ("Host", b"localhost"), *(("X-Secret", value) for value in values))


@pytest.mark.parametrize(
    "value", [SECRET, f"Bearer {SECRET}", f"bearer {SECRET}", f"BEARER   {SECRET}"], ids=lambda value: value[:9]
)
def test_a_header_holds_it_bare_or_as_bearer(value: str) -> None:
    check = SharedSecret(SECRET, header="x-SECRET")
    assert check(with_header(value.encode()))
    assert not check(with_header(value[:-1].encode()))
    assert not check(seen("/?x-secret=" + quote(SECRET), ("Authorization", value.encode())))  # not the place


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"Bearer",
        b"Bearer ",
        b"Basic " + SECRET.encode(),
        b"Bearer" + SECRET.encode(),
        b"Bearer\t" + SECRET.encode(),
        SECRET.upper().encode(),
        SECRET.encode() + b"\0",
        SECRET.encode() * 2,
        b"\xff" * 28,
        "Schlüssel".encode("latin-1"),
    ],
)
def test_another_header_value_is_refused(value: bytes) -> None:
    assert SharedSecret(SECRET, header="x-secret")(with_header(value)) is False


@pytest.mark.parametrize("raw", [quote(SECRET, safe=""), quote(SECRET), urlencode({"": SECRET})[1:], SECRET])
def test_a_query_parameter_holds_it_in_every_usual_encoding(raw: str) -> None:
    check = SharedSecret(SECRET, query="secret")
    assert check.parameter == "secret"
    assert check(with_query(raw))
    assert not check(with_query(raw[1:]))
    assert not check(with_query(raw + "x"))
    assert not check(with_query("Bearer%20" + raw))
    assert not check(seen("/secret=" + raw))
    assert not check(seen("/?Secret=" + raw, ("secret", SECRET.encode())))


@pytest.mark.parametrize("raw", ["", "%", "%zz", "%ff%fe", "%C3%28", "\xff\xfe", "\u20ac", "\ud800", "%00", "=", "a=b"])
@pytest.mark.parametrize("uri", ["/?secret={}", "?secret={}", "/?secret&secret={}&", "{}", "/?&&{}=&=secret", ""])
def test_odd_queries_are_refused_without_a_word(uri: str, raw: str) -> None:
    assert SharedSecret(SECRET, query="secret")(seen(uri.format(raw))) is False


@settings(deadline=None)
@given(st.text(max_size=80), st.lists(st.binary(max_size=60), max_size=4))
def test_nothing_that_is_sent_makes_it_raise(text: str, values: list[bytes]) -> None:
    connection = seen(f"/?secret={text}", *(("x-secret", value) for value in values))
    assert SharedSecret(SECRET, query="secret")(connection) is False
    assert SharedSecret(SECRET, header="x-secret")(connection) is False


@settings(deadline=None)
@given(SECRETS)
def test_every_secret_that_is_taken_gets_in(secret: str) -> None:
    for raw in (quote(secret, safe=""), urlencode({"": secret})[1:]):
        assert SharedSecret(secret, query="secret")(with_query(raw))
    for value in (secret.encode(), b"Bearer " + secret.encode()):
        assert SharedSecret(secret, header="x-secret")(with_header(value))


def test_any_value_of_a_repeated_one_may_be_it() -> None:
    for number in range(3):
        values = [b"wrong"] * 3
        values[number] = OTHER.encode()
        assert SharedSecret(OTHER, header="x-secret")(with_header(*values))
        assert SharedSecret(OTHER, query="secret")(with_query("&secret=".join(map(bytes.decode, values))))


def test_so_many_values_are_looked_at() -> None:
    for count, let_in in [(MAX_VALUES - 1, True), (MAX_VALUES, False)]:
        values = [b"x"] * count + [OTHER.encode()]
        assert SharedSecret(OTHER, header="x-secret")(with_header(*values)) is let_in
        assert SharedSecret(OTHER, query="secret")(with_query("&secret=".join(map(bytes.decode, values)))) is let_in


def test_several_secrets_are_valid_at_once() -> None:
    check = SharedSecret([SECRET, OTHER], header="x-secret")
    assert check.parameter is None
    assert check(with_header(SECRET.encode()))
    assert check(with_header(OTHER.encode()))
    assert not check(with_header((SECRET + OTHER).encode()))
    assert not SharedSecret((SECRET,), header="x-secret")(with_header(OTHER.encode()))


@pytest.mark.parametrize("sent", [SECRET, OTHER, "wrong", "", "x" * 10_000])
def test_every_secret_is_compared_in_constant_time(sent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[int, int]] = []
    real = hmac.compare_digest

    def compare(left: Any, right: Any) -> bool:
        compared.append((len(left), len(right)))
        return real(left, right)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    SharedSecret([SECRET, OTHER, "a third secret of ours"], header="x-secret")(with_header(sent.encode()))
    assert compared == [(32, 32)] * 3  # a digest each, whatever the length of what was sent


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("header or query", {"secret": SECRET}),
    ("header or query", {"secret": SECRET, "header": "a", "query": "b"}),
    ("header", {"secret": SECRET, "header": ""}),
    ("header", {"secret": SECRET, "header": "x secret"}),
    ("header", {"secret": SECRET, "header": "x-secret:"}),
    ("header", {"secret": SECRET, "header": "ключ"}),
    ("header", {"secret": SECRET, "header": 1}),
    ("query", {"secret": SECRET, "query": ""}),
    ("query", {"secret": SECRET, "query": "a&b"}),
    ("query", {"secret": SECRET, "query": "a%20b"}),
    ("query", {"secret": SECRET, "query": "token\n"}),
    ("query", {"secret": SECRET, "query": b"token"}),
    ("secret", {"secret": "fifteen-letters", "query": "a"}),
    ("secret", {"secret": "", "query": "a"}),
    ("secret", {"secret": None, "query": "a"}),
    ("secret", {"secret": [], "query": "a"}),
    ("secret", {"secret": {SECRET}, "query": "a"}),
    ("secret", {"secret": SECRET.encode(), "query": "a"}),
    ("secret", {"secret": SECRET + "\n", "query": "a"}),
    ("secret", {"secret": " " + SECRET, "header": "a"}),
    ("secret", {"secret": SECRET + "\ud800", "query": "a"}),
    (r"secret\[1\]", {"secret": [SECRET, "fifteen-letters"], "query": "a"}),
    (r"secret\[0\]", {"secret": [7, SECRET], "query": "a"}),
]


@pytest.mark.parametrize(("field", "arguments"), WRONG)
def test_a_wrong_setting_names_its_field_and_shows_no_secret(field: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(AudioConnectorConfigError, match=rf"^(either )?{field} must ") as error:
        SharedSecret(**arguments)
    assert "horse" not in str(error.value)
    assert "fifteen" not in str(error.value)


def test_the_shortest_secret() -> None:
    shortest = "ä" * MIN_SECRET_CHARACTERS
    assert MIN_SECRET_CHARACTERS == 16
    assert SharedSecret(shortest, query="secret")(with_query(quote(shortest)))


def test_the_log_tells_the_reason_and_nothing_that_was_sent(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    check = SharedSecret([SECRET, OTHER], query="secret")
    check(seen("/room?tenant=blue"))
    check(with_query("guess-of-a-stranger"))
    check(with_query(OTHER))
    told = [(record.name, record.levelno, record.getMessage()) for record in caplog.records]
    assert told == [
        ("vonage_audio_connector_server", logging.INFO, "connection c0ffee: refused, no secret"),
        ("vonage_audio_connector_server", logging.INFO, "connection c0ffee: refused, its secret is not ours"),
    ]


@pytest.mark.parametrize("place", [{"header": "x-secret"}, {"query": "secret"}], ids=str)
def test_printing_it_shows_the_place_and_no_secret(place: dict[str, str]) -> None:
    check = SharedSecret([SECRET, OTHER], **place)
    (name,) = place.values()
    assert name in repr(check)
    for shown in all_shown(check):
        assert "horse" not in shown
        assert "another" not in shown
