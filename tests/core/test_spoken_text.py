"""Which words were heard, when so much of the sound was."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vonage_audio_connector_server.core.spoken_text import CHARS_PER_S, SpokenText


def said(*parts: tuple[str, float]) -> SpokenText:
    """Texts, and when the sound of each begins."""
    spoken = SpokenText()
    for text, start_s in parts:
        spoken.add(text, (), start_s)
    return spoken


@pytest.mark.parametrize(
    ("heard_s", "words"),
    [
        (0.0, ""),
        (0.1, ""),
        (0.6, "Hello"),
        (1.0, "Hello there."),
        (1.2, "Hello there."),
        (1.7, "Hello there. How"),
        (2.4, "Hello there. How are"),
        (3.0, "Hello there. How are you?"),
        (9.0, "Hello there. How are you?"),
    ],
)
def test_words_share_the_time_of_their_sound(heard_s: float, words: str) -> None:
    spoken = said(("Hello there.", 0.0), ("How are you?", 1.0))
    assert spoken.text == "Hello there. How are you?"
    assert spoken.heard(heard_s, 3.0, is_complete=True) == words


def test_of_a_text_whose_sound_has_not_all_come_the_rest_is_still_to_be_said() -> None:
    text = "one two three four five six seven eight nine ten"
    spoken = said((text, 0.0))

    half_s = len(text) / CHARS_PER_S / 2
    assert spoken.heard(half_s, half_s + 0.1, is_complete=False) == "one two three four five"
    assert spoken.heard(half_s, half_s, is_complete=True) == text


def test_the_pace_of_the_texts_before_is_that_of_the_last() -> None:
    spoken = said(("a" * 100, 0.0), ("b c d e f g h i j k", 20.0))  # five letters a second
    assert spoken.heard(22.1, 22.2, is_complete=False).count(" ") == 5


def test_where_the_synthesis_tells_the_times_they_hold() -> None:
    spoken = SpokenText()
    spoken.add("Well, no.", [("Well", 0.0, 0.2), ("no", 1.6, 2.0)], 0.0)
    spoken.add("", [("You", 0.0, 0.2), ("know", 0.2, 0.4)], 2.0)

    assert spoken.text == "Well, no. You know"
    heard = [spoken.heard(at_s, 2.4, is_complete=True) for at_s in (0.05, 0.15, 1.7, 1.85, 2.15, 2.35)]
    assert heard == ["", "Well,", "Well,", "Well, no.", "Well, no. You", "Well, no. You know"]


def test_a_synthesis_that_counts_words_otherwise() -> None:
    spoken = SpokenText()
    spoken.add("At 10:10 sharp", [("at", 0, 1), ("ten", 1, 2), ("past", 2, 3), ("ten", 3, 4), ("sharp", 4, 5)], 0.0)
    assert spoken.heard(3.6, 5.0, is_complete=True) == "At 10:10"


def test_texts_are_put_together_as_they_are() -> None:
    spoken = said(("Hel", 0.0), ("lo", 0.1), (" world", 0.2), ("!", 0.3), ("", 0.4), ("Yes", 0.5))
    assert spoken.text == "Hello world! Yes"
    assert SpokenText().heard(1.0, 1.0, is_complete=True) == ""


@given(
    st.lists(st.tuples(st.text(max_size=30), st.floats(0.0, 3.0)), max_size=5),
    st.lists(st.floats(0, 20), min_size=2, max_size=6),
    st.booleans(),
)
def test_what_was_heard_is_a_beginning_of_the_text_and_only_grows(
    parts: list[tuple[str, float]], heard_s: list[float], is_complete: bool
) -> None:
    spoken, at_s = SpokenText(), 0.0
    for text, duration_s in parts:
        spoken.add(text, (), at_s)
        at_s += duration_s

    heard = [spoken.heard(now_s, at_s, is_complete=is_complete) for now_s in sorted(heard_s)]
    assert all(spoken.text.startswith(words) for words in heard)
    assert heard == sorted(heard, key=len)
