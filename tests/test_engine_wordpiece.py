"""Tokens as uncased BERT models make them."""

from hypothesis import given
from hypothesis import strategies as st

from engine.masks.wordpiece import read_vocabulary, tokenize

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "drum", "##s", "kick", "!", "gu", "##itar", "a", "鼓"]
VOCABULARY = {piece: number for number, piece in enumerate(PIECES)}


def pieces(text, longest=32):
    back = {n: piece for piece, n in VOCABULARY.items()}
    return [back[n] for n in tokenize(text, VOCABULARY, longest)]


def test_words_become_their_longest_known_pieces():
    assert pieces("Kick DRUMS!") == ["[CLS]", "kick", "drum", "##s", "!", "[SEP]"]


def test_accents_and_case_fall_away():
    assert pieces("gúítàr") == ["[CLS]", "gu", "##itar", "[SEP]"]


def test_an_unknown_word_is_one_unknown_token():
    assert pieces("theremin a") == ["[CLS]", "[UNK]", "a", "[SEP]"]


def test_ideographs_stand_alone():
    assert pieces("a鼓a") == ["[CLS]", "a", "鼓", "a", "[SEP]"]


def test_long_text_is_cut_and_keeps_its_end_mark():
    assert pieces("a " * 100, longest=8) == ["[CLS]", *["a"] * 6, "[SEP]"]


@given(st.text(max_size=200))
def test_any_text_gives_numbers_of_the_vocabulary(text):
    numbers = tokenize(text, VOCABULARY, 32)
    assert 2 <= len(numbers) <= 32
    assert set(numbers) <= set(VOCABULARY.values())


def test_a_vocabulary_file_is_one_piece_a_line(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("[PAD]\n[UNK]\nä\n", encoding="utf-8")
    assert read_vocabulary(path) == {"[PAD]": 0, "[UNK]": 1, "ä": 2}
