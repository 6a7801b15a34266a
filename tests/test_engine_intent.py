"""What prompts ask of a two-stem model: both ways, the refusals, and the data behind them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.masks.intent import _PHRASES, _words, read_intent

VOCALS = """
    vocals | vocal | Vocals | THE VOCALS | vox | voice | human voice | lead vocals | lead vocal
    background vocals | backing vocals | harmony vocals | male vocals | female voice | singing | a woman singing
    man speaking | singer | the voice of the singer | lead singer | two people talking | speech | talking
    spoken word | dialogue | narration | voice over | voice-over | rap | rapping | choir | gospel choir
    children's choir | singing voice | ad-lib vocals | acapella | a cappella | a cappella vocals
    isolated vocals | vocals only | just the vocals | nothing but vocals | vocal stem | extract the vocals
    vocals and speech | vocal harmonies | vocals, male | keep only the voice | vocals from the mix
    separate the vocals from the music | solo voice | opera singer | live vocals | no music
    without instruments | vocals without music | speech, no background music | remove the music
    everything but the music | dialogue without background music | voice with no music
    keep vocals remove music | vocals minus accompaniment | remove music from the vocals
    music removed from vocals | no instrumental | voix | voix off | chant | chœur | choeur | Gesang | Stimme
    Männerstimme | Hintergrundgesang | voz | voz de mujer | voz en off | voces | coro | vocais | fala | voce
    voce maschile | zang | sång | wokal | zpěv | вокал | голос | ГОЛОС | бэк-вокал | речь | пение | хор
    ボーカル | ヴォーカル | 歌声 | 声 | 人声 | 보컬 | 목소리 | ohne Musik | sans musique | sin música
    без музыки
"""

ACCOMPANIMENT = """
    instrumental | Instrumental | instrumental version | karaoke | karaoke track | backing track
    backing tracks | accompaniment | music | background music | the music | band | live band | backing band
    instruments | all instruments | musical instruments | minus one | music minus one | off vocal
    non-vocal music | bgm | everything but the vocals | everything except the voice | all but the vocals
    anything but vocals | everything with no vocals | everything other than the vocals | no vocals | no voice
    without vocals | without voice | w/o vocals | remove the vocals | remove vocals | remove lead vocals
    get rid of the singer | minus vocals | music without vocals | instrumental without voice
    song without singing | mix minus vocals | music, not vocals | music but not singing | no vocals but music
    no singing | no speech | mute the vocals | vocal removal | vocal remover | vocals removed
    music with vocals removed | remove the vocals from the song | remove vocals from the music
    track with no vocals | karaoke without lead vocals | instrumental, no vocals | take out the vocals
    suppress speech | musique | musique de fond | accompagnement | sans voix | sans chant | pas de voix | Musik
    Hintergrundmusik | Begleitung | ohne Gesang | ohne Stimme | música | musica | música de fondo
    acompañamiento | sin voz | sem voz | sem vocais | senza voce | strumentale | zonder zang | utan sång
    bez wokalu | музыка | инструментал | минусовка | без вокала | без голоса | 伴奏 | カラオケ | 音楽 | 音乐
    卡拉OK | 无人声 | 반주 | 음악
"""

REFUSED = """
    acoustic guitar | drums | bass | piano | strings | vocal synth | talk box | talk box guitar | vocoder
    vocals and drums | vocals and guitar | guitar vocals | lead guitar | lead | background | backing | harmonies
    solo | music box | voice over music | vocals and music | singing with music | band singing
    music and speech | rap music | choir music | vocal music | gospel music | opera music | opera | vocal chops
    choir pad | vox organ | vox continental | singing bowl | bird singing | dog barking | crowd | crowd cheering
    applause | laughter | humming | beatbox | human beatbox | man | a woman | person | tenor | alto | no
    remove | without | everything | everything and vocals | no drums | music without drums
    everything but the drums | without piano | remove the guitar | no vocals no music | no vocals and music
    vocals no | vocals mute | muted vocals | not without vocals | no no vocals | don't remove vocals
    no vocals removed | vocals without background vocals | lead vocals without singing | instrumental vocals
    instrumental with vocals | song with vocals | with vocals | karaoke vocals | take vocals out of the mix
    take the vocals away | vocals free of music | vocals removed music | vocals off | -vocals | mix - vocals
    !vocals | vocals ~ drums | instrumental solo | instrumental melody | main instruments | lead instruments
    male music | speaker | voice mail | the left vocals | background noise | noise | everything but noise | song
    track | mix | the sound | from vocals | vocals kazoo | asdf | 12 | vocals 2 | voix et guitare
    Gesang und Klavier | гитара | ギター | vocalguitar | novox
"""


def listed(table: str) -> list[str]:
    return [prompt.strip() for line in table.strip().splitlines() for prompt in line.split("|")]


@pytest.mark.parametrize("prompt", listed(VOCALS))
def test_prompts_that_ask_for_the_vocals(prompt):
    intent = read_intent(prompt)
    assert intent is not None
    assert intent.stem == "vocals"


@pytest.mark.parametrize("prompt", listed(ACCOMPANIMENT))
def test_prompts_that_ask_for_the_accompaniment(prompt):
    intent = read_intent(prompt)
    assert intent is not None
    assert intent.stem == "accompaniment"


@pytest.mark.parametrize("prompt", [*listed(REFUSED), "", " ", "?", "\x00", "🎸"])
def test_prompts_that_ask_for_something_else_or_leave_a_doubt(prompt):
    assert read_intent(prompt) is None


@pytest.mark.parametrize(
    ("prompt", "word"),
    [
        ("vocals", ""),
        ("instrumental", ""),
        ("no vocals", ""),
        ("everything but the voice", ""),
        ("lead vocals", "all voices together"),
        ("background vocals", "all voices together"),
        ("vocals, male", "all voices together"),
        ("speech", "all voices together"),
        ("choir", "all voices together"),
        ("remove the lead vocals", "all voices together"),
        ("music", "noise and effects included"),
        ("the band", "noise and effects included"),
        ("no music", "voices only"),
    ],
)
def test_the_note_says_when_the_stem_is_broader_than_the_prompt(prompt, word):
    intent = read_intent(prompt)
    assert intent is not None
    assert (word in intent.note) if word else intent.note == ""


def test_no_phrase_plays_two_roles():
    roles = {}
    for role, phrases in _PHRASES.items():
        for phrase in phrases.split(","):
            words = tuple(_words(phrase))
            assert words, f"an empty phrase among {role!r}"
            assert words not in roles, f"{phrase.strip()!r} is listed under {roles[words]!r} and {role!r}"
            roles[words] = role


HEADS = {
    stem: [p.strip() for role in roles for p in _PHRASES[role].split(",")]
    for stem, roles in {"vocals": ("voice", "some_voice"), "accompaniment": ("music", "some_music")}.items()
}


@pytest.mark.parametrize("stem", HEADS)
def test_every_head_means_its_stem_alone_and_the_other_one_after_without(stem):
    other = {"vocals": "accompaniment", "accompaniment": "vocals"}[stem]
    for head in HEADS[stem]:
        plain, negated = read_intent(head), read_intent(f"without the {head}")
        assert plain is not None, head
        assert negated is not None, head
        assert (plain.stem, negated.stem) == (stem, other), head


@given(st.sampled_from(HEADS["vocals"]), st.sampled_from(HEADS["accompaniment"]))
def test_both_stems_at_once_are_refused(voice, music):
    assert read_intent(f"{voice} and {music}") is None


@given(st.sampled_from([*HEADS["vocals"], *HEADS["accompaniment"]]), st.sampled_from(["drums", "guitar", "xyzzy"]))
def test_one_unknown_word_anywhere_is_a_refusal(head, unknown):
    assert read_intent(f"{head} {unknown}") is None
    assert read_intent(f"{unknown} {head}") is None


@given(st.text())
def test_any_text_gets_an_answer_and_spaces_around_it_say_nothing(text):
    assert read_intent(text) == read_intent(f"  {text}  ")


@given(st.sampled_from(listed(VOCALS) + listed(ACCOMPANIMENT) + listed(REFUSED)))
def test_capitals_and_spaces_say_nothing(prompt):
    assert read_intent(prompt.upper().replace(" ", "  ")) == read_intent(prompt)
