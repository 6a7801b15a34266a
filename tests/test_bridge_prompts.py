"""Track names to prompts: real names, names that ask for nothing, and what holds for every name."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.asking.prompts import prompt_from_track
from bridge.asking.vocabulary import load_vocabulary
from engine.masks.intent import read_intent

OURS = load_vocabulary()
NOUNS = sorted({word.text for word in OURS.words.values() if word.kind == "noun"})
ADJECTIVES = sorted({word.text for word in OURS.words.values() if word.kind == "adjective"})


def prompt(name: str) -> str | None:
    return prompt_from_track(name, OURS)


def listed(table: str) -> list[str]:
    return [entry.strip() for line in table.strip().splitlines() for entry in line.split("|")]


REAL_NAMES = {
    # the design's own
    "03_LeadVox_DI (take 2)": "lead vocals",
    "GTR ac L": "acoustic guitar",
    "BGV stack": "background vocals",
    "Kik In": "kick drum",
    "BUS 7 :: tambourine": "tambourine",
    # voices
    "Lead Vox MASTER v3 FINAL": "lead vocals",
    "Vox Lead Dbl R": "lead vocals",
    "LDVOX_01-03.L": "lead vocals",
    "BGVs (verse 2)": "background vocals",
    "BGVocals": "background vocals",
    "VOXlead": "lead vocals",
    "Vox Harm Hi": "high harmony vocals",
    "Harm 3": "harmony vocals",
    "Male Voc U87": "male vocals",
    "Vocal Chop_120_Am.wav": "vocal chops",
    "kids' choir": "kids choir",
    "VO_Narr_tk4": "voice over narration",
    "DX Boom Mic 1": "dialogue",
    "Vocals Maria": "vocals maria",
    # drums
    "Kick Out 47": "kick drum",
    "Drums - Snare Top SM57": "snare drum",
    "SnrBtm": "snare drum",
    "HiHat_L.wav": "hi-hat",
    "hi hat": "hi-hat",
    "Tom Floor": "floor tom",
    "Rack Tom 1 (MD421)": "rack tom",
    "DrumOH_L": "drum overheads",
    "OH R": "drum overheads",
    "Drum Room XY": "drums",
    "Crash L": "crash cymbal",
    "Perc - Tamb": "tambourine",
    "80's Drums": "drums",
    "Kick & Snare": "kick drum and snare drum",
    # guitars and basses
    "GTRac": "acoustic guitar",
    "AcGtr_02-03.L": "acoustic guitar",
    "EGtr": "electric guitar",
    "Gtr Elec Rhy L 2": "rhythm electric guitar",
    "12-String Gtr": "twelve string guitar",
    "Acoustic L": "acoustic guitar",
    "Bass DI": "bass",
    "bass_amp_re20": "bass",
    "Bass Upright": "upright bass",
    "Bass 808": "808 bass",
    "Sub": "sub bass",
    # keyboards and synthesizers
    "Pno L": "piano",
    "Keys - Piano": "piano",
    "Piano Grand C414": "grand piano",
    "Organ B3": "hammond organ",
    "Rhodes (chorus)": "rhodes piano",
    "Syn Lead Dist": "distorted lead synth",
    "Pad 2 (stereo)": "synth pad",
    # strings, brass, woodwinds
    "Vln 1 Pizz": "pizzicato violin",
    "1st Violins": "violins",
    "Vlc": "cello",
    "Sax Alto": "alto saxophone",
    "Tpt 2 Mtd": "muted trumpet",
    # film
    "SFX 04": "sound effects",
    "AMB": "ambience",
    "Room Tone": "room tone",
    "Car Crash": "car crash",
    # two things, and one thing less
    "Gtr/Vox": "guitar and vocals",
    "Vox + Gtr": "vocals and guitar",
    "Mix w/o Vox": "without vocals",
    "NoVox": "instrumental",
    "No. 2 Vox": "vocals",
    # the open vocabulary: words that nobody listed, in any script
    "Kazoo 2": "kazoo",
    "Dog barking": "dog barking",
    "Flöte": "flöte",
    "Flo\u0308te 2": "flöte",
    "гитара": "гитара",
    "声": "声",
    "Ｖｏｘ": "vocals",
    "पियानो 1": "पियानो",
    "دف": "دف",
    # as it stands
    "Audio 3 :: Hammond B3, left hand": "Hammond B3, left hand",
    "x ::  a  :: b ": "a :: b",
}

NO_PROMPT = """
    Audio 3 | Track 1 | Untitled | New Track | MIDI 2 | Inst 1 | 1-Audio | A-Reverb | B-Delay | Aux 4 | Bus 7 | Master
    Stereo Out | Group 1 | Mix Bounce v3 FINAL | Print | 01 | --- | ... | Audio_12-03.wav | Insert 4 | FX 1 | Room L
    Take 2 | L | R | U87 | DI | Track 5 (copy) | Stem 3 | 120 BPM | Audiospur 1 | Piste audio 2 | Sin título
    Без названия | Дорожка 1 | トラック 1 | オーディオ 3 | 音轨 2 | 오디오 1 | Vox :: | :: | and | no | 🎵
"""
NOTHING = [*listed(NO_PROMPT), "", "\u200b", "\x00\x07"]


def test_the_tables_are_as_long_as_promised():
    assert len(REAL_NAMES) >= 40
    assert len(NOTHING) >= 10


@pytest.mark.parametrize("name", REAL_NAMES)
def test_real_names(name):
    assert prompt(name) == REAL_NAMES[name]


@pytest.mark.parametrize("name", NOTHING)
def test_names_that_ask_for_nothing(name):
    assert prompt(name) is None


# What holds for every name

WORDS = st.sampled_from([*OURS.words, "kazoo", "Maria", "and", "no", "w/o", "&", "2", "07", "::", "é", "声"])
NAMES = st.one_of(st.text(), st.lists(WORDS, max_size=6).map(" ".join), st.lists(WORDS, max_size=4).map("_".join))
UNMARKED = NAMES.map(lambda name: name.replace(":", " "))
TAILS = (
    "L | R | 2 | 02 | (take 2) | tk 4 | v3 | Left | mono | copy | SM57 | U87 | mic | DI | [dbl] | L/R | 01.aif | #12"
)
SUFFIXES = st.tuples(st.sampled_from(" _-."), st.sampled_from(listed(TAILS))).map("".join) | st.just(".wav")


@given(NAMES)
@example("İstanbul")
@example("ΑΣ")
@example("\ud800")
@example("ß::\u2028x")
def test_a_prompt_is_one_printable_line_or_none(name):
    found = prompt(name)
    assert found is None or (found == found.strip() != "" and found.isprintable() and "  " not in found)


def test_an_endless_name_is_cut_short():
    assert prompt("kazoo" * 1_000_000) == ("kazoo" * 1_000)[:4096]


@given(UNMARKED)
@example("snr drum")
@example("2 no drum bass")
def test_a_prompt_read_again_is_itself_and_lowercase(name):
    found = prompt(name)
    assert found is None or (prompt(found) == found and found == found.lower())


@given(UNMARKED, SUFFIXES)
@example("vox no", " 2")
@example("b", " 3")
def test_takes_numbers_sides_and_microphones_change_nothing(name, suffix):
    assert prompt(name + suffix) == prompt(name)


@given(st.text(alphabet=st.characters(categories=["Ll", "Lo"]), min_size=4))
def test_unknown_words_are_kept(word):
    found = prompt(f"{word} kazoo")
    assert found is not None
    assert "kazoo" in found


# What holds for the data


def test_there_are_enough_spellings():
    spellings = {text for text, word in OURS.words.items() if text not in (word.text, word.text.replace("-", " "))}
    assert len(spellings) >= 250


@pytest.mark.parametrize("text", NOUNS)
def test_every_noun_is_its_own_prompt(text):
    assert prompt(text) == text
    assert prompt(f"{text.upper()} 2") == text


@given(st.sampled_from(sorted(OURS.words)))
def test_every_spelling_is_read_as_its_word(spelling):
    word = OURS.words[spelling]
    found = prompt(spelling)
    if word.kind == "noun":
        assert found == word.text
    else:
        assert found == OURS.alone.get(word.text, word.text if word.kind == "adjective" else None)


@pytest.mark.parametrize("adjective", sorted(set(ADJECTIVES) - {"crash", "ride"}))  # "drums crash" is the cymbal
def test_an_adjective_goes_before_its_noun_wherever_it_stood(adjective):
    for noun in NOUNS:
        assert prompt(f"{noun} {adjective}") == prompt(f"{adjective} {noun}")


OF_INSTRUMENTS = listed("""acoustic | electric | rhythm | muted | floor | rack | ride | crash | sub | upright | grand
    fretless | slide | nylon | twelve string | arpeggiated | pizzicato | staccato | spiccato | legato | tremolo""")
VOICES = {each for family in ("vocals", "voice") for each in (family, *OURS.families[family])} - {"vocal chops"}


@pytest.mark.parametrize("voice", sorted(VOICES))
def test_the_two_stem_model_understands_every_voice(voice):
    intent = read_intent(voice)
    assert intent is not None
    assert intent.stem == "vocals"


@pytest.mark.parametrize("adjective", sorted(set(ADJECTIVES) - set(OF_INSTRUMENTS)))
def test_the_two_stem_model_understands_every_adjective_of_a_voice(adjective):
    intent = read_intent(f"{adjective} vocals")
    assert intent is not None
    assert intent.stem == "vocals"


@pytest.mark.parametrize("music", ["instrumental", "backing track", "music", "instruments", "without vocals"])
def test_the_two_stem_model_understands_the_accompaniment(music):
    assert prompt(music) == music
    intent = read_intent(music)
    assert intent is not None
    assert intent.stem == "accompaniment"


@pytest.mark.parametrize(
    "noun", sorted(set(NOUNS) - VOICES - {"instrumental", "backing track", "music", "instruments"})
)
def test_the_two_stem_model_claims_nothing_else(noun):
    assert read_intent(noun) is None
