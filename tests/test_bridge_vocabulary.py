"""The vocabulary file: ours, the user's over it, and what a wrong one is told."""

from __future__ import annotations

from pathlib import Path

import platformdirs
import pytest

from bridge.asking.prompts import prompt_from_track
from bridge.asking.vocabulary import Vocabulary, Word, default_vocabulary, load_vocabulary, user_file
from engine.errors import StembridgeError


@pytest.fixture
def written(tmp_path):
    def write(text: str | bytes) -> Path:
        path = tmp_path / "vocabulary.toml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


def test_ours_is_read_when_the_user_has_none(tmp_path):
    assert load_vocabulary(tmp_path / "none.toml") == load_vocabulary()


def test_the_users_words_win_and_ours_stay(written):
    mine = load_vocabulary(
        written(
            """
            schema = 1
            [nouns]
            "talk box guitar" = ["TBX", "t-box"]
            "tack piano" = ["pno"]
            [adjectives]
            wobbly = ["wob"]
            [alone]
            wobbly = "wobbly bass"
            [families]
            guitar = ["talk box guitar"]
            [drop]
            studio = ["abbey", "room B"]
            """
        )
    )
    names = {
        "TBX 1": "talk box guitar",
        "T_Box": "talk box guitar",
        "TBox": "talk box guitar",
        "Gtr TBX": "talk box guitar",
        "Pno L": "tack piano",
        "Bass Wob": "wobbly bass",
        "Wob 2": "wobbly bass",
        "Vox Abbey (Room B)": "vocals",
        "03_LeadVox_DI (take 2)": "lead vocals",
    }
    assert {name: prompt_from_track(name, mine) for name in names} == names


def test_the_user_can_bring_back_a_word_that_we_drop(written):
    mine = load_vocabulary(written('schema = 1\n[nouns]\n"room ambience" = ["room"]'))
    assert prompt_from_track("Room L") is None
    assert prompt_from_track("Room L", mine) == "room ambience"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("schema = 1\n[nouns]\nvox = ['v' 'w']\n", "line 3"),
        ("schema = 1\n[nouns]\n'kazoo' = ['kz']\n'kazoo' = ['k']", "line 4"),
        ("[nouns]", "schema"),
        ("schema = 2", "schema"),
        ("schema = 1\n[noun]\nkazoo = ['kz']", "nouns"),
        ("schema = 1\nnouns = 3", "nouns"),
        ("schema = 1\n[nouns]\nkazoo = 'kz'", "nouns.kazoo"),
        ("schema = 1\n[nouns]\nkazoo = [1]", "nouns.kazoo"),
        ("schema = 1\n[nouns]\nkazoo = ['']", "nouns.kazoo"),
        ("schema = 1\n[nouns]\n'' = ['kz']", "nouns."),
        ("schema = 1\n[nouns]\nkazoo = ['kz']\nkazatsky = ['kz']", "nouns.kazatsky"),
        ("schema = 1\n[nouns]\nkazoo = ['kz']\n[drop]\nmine = ['KZ']", "drop.mine"),
        ("schema = 1\n[drop]\nmine = 'kz'", "drop.mine"),
        ("schema = 1\n[alone]\nkazoo = 'kazoo solo'", "alone.kazoo"),
        ("schema = 1\n[alone]\nacoustic = 3", "alone.acoustic"),
        ("schema = 1\n[families]\nguitar = ['kazoo']", "families.guitar"),
        ("schema = 1\n[families]\nkazoo = ['guitar']", "families.kazoo"),
        ("schema = 1\n[families]\nguitar = 'banjo'", "families.guitar"),
        ("schema = 1\n[families]\nguitar = [['banjo']]", "families.guitar"),
        (b"schema = 1\n# \xff", "UTF-8"),
    ],
)
def test_a_wrong_file_is_named_with_the_line_or_key_and_the_remedy(written, text, named):
    path = written(text)
    with pytest.raises(StembridgeError) as caught:
        load_vocabulary(path)
    assert caught.value.code == "bad_preset"
    assert str(path) in caught.value.text
    assert named in str(caught.value)
    assert caught.value.remedy


def test_a_folder_in_place_of_the_file_is_an_error(tmp_path):
    with pytest.raises(StembridgeError, match="cannot be read"):
        load_vocabulary(tmp_path)


def test_words_that_follow_one_another_in_a_circle_come_to_an_end():
    circle = Vocabulary({"aa": Word("noun", "bb"), "bb": Word("noun", "aa aa cc")}, {}, {})
    assert prompt_from_track("aa", circle) is not None


def test_the_users_file_lies_in_the_configuration_folder_and_is_read_once(tmp_path, monkeypatch):
    monkeypatch.setattr(platformdirs, "user_config_dir", lambda *_, **__: str(tmp_path))
    user_file().write_text('schema = 1\n[nouns]\nkazoo = ["kz"]')
    default_vocabulary.cache_clear()
    try:
        assert prompt_from_track("KZ 2") == "kazoo"
        user_file().unlink()
        assert prompt_from_track("KZ 2") == "kazoo"
    finally:
        default_vocabulary.cache_clear()
