"""What a prompt asks of a model that knows two stems, the vocals and the accompaniment.

The grammar is closed: every word of the prompt must be in the tables below and the whole must mean one stem, else the
answer is None and the caller refuses the prompt. A wrong stem that nobody noticed would be worse than a refusal.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal

Stem = Literal["vocals", "accompaniment"]
_Role = Literal[
    "voice", "some_voice", "music", "some_music", "voice_only", "both", "neutral", "no", "removed", "from", "join"
]


@dataclass(frozen=True)
class Intent:
    """The stem that answers a prompt."""

    stem: Stem
    note: str
    """What the user should know when the stem holds more, or less, than the prompt says; empty when it is exact."""


_ALL_VOICES: Final = "This model takes all voices together, sung and spoken: it cannot tell one from another."
_ALL_BUT_VOICES: Final = "This model takes everything that is not a voice, noise and effects included."
_VOICES_ONLY: Final = "This model keeps the voices only: every other sound goes with the music."

_PHRASES: Final[dict[_Role, str]] = {
    # the voices as a whole
    "voice": """vocals, vocal, vox, voice, voices, human voice, human voices, singing and speech, speech and singing,
        acapella, acappella, a cappella, a capella, voix, gesang, stimme, stimmen, voz, voces, vozes, vocais, voce,
        voci, zang, zangstem, sång, röst, wokal, wokalu, głos, zpěv, vokal, vokály, ének, вокал, вокала, голос, голоса,
        голосов, ボーカル, ヴォーカル, 歌声, 声, 人声, 人聲, 보컬, 목소리, غناء""",
    # some of them: this model cannot tell which
    "some_voice": """singing, singer, singers, vocalist, vocalists, speech, talk, talking, speaking, spoken word, spoken
        words, dialogue, dialog, dialogues, conversation, narration, narrator, monologue, announcer, voice over, voice
        overs, voiceover, voix off, voz en off, rap, raps, rapping, rapper, choir, choirs, chanting, falsetto,
        whispering, whispers, vocal harmony, vocal harmonies, vocal ad libs, vocal adlibs, chant, chanteur, chanteuse,
        parole, chœur, chœurs, choeur, choeurs, sänger, sängerin, sprache, sprecher, sprecherin, sprechen, chor,
        hintergrundgesang, männerstimme, frauenstimme, canto, cantante, cantantes, habla, coro, coros, fala, diálogo,
        cantato, parlato, śpiew, řeč, пение, певец, певица, речь, хор, диалог, бэк вокал, спів, şarkıcı, 合唱, 歌唱,
        歌手, 話し声, 说话声, 노랫소리""",
    # all that is not a voice
    "music": """instrumental, instrumentals, accompaniment, accompaniments, karaoke, backing track, backing tracks,
        minus one, off vocal, non vocal, non vocals, nonvocal, begleitung, accompagnement, instrumentale, strumentale,
        acompañamiento, acompanhamento, instrumentaal, akompaniament, podkład, ackompanjemang, инструментал, минусовка,
        аккомпанемент, караоке, 伴奏, カラオケ, 卡拉ok, 纯音乐, 无人声, 無人聲, ボーカルなし, 반주""",
    # what most people call that, though this model puts noise and effects there too
    "some_music": """music, bgm, music bed, band, bands, instruments, musicians, musik, hintergrundmusik, instrumente,
        musique, musique de fond, instruments de musique, música, música de fondo, música de fundo, instrumentos, musica
        di sottofondo, strumenti, muziek, muzyka, hudba, музыка, музыки, фоновая музыка, инструменты, müzik, 音楽,
        音乐, 音樂, 背景音乐, 음악""",
    # words that narrow a voice, and mean nothing here without one
    "voice_only": """lead, main, principal, harmony, harmonies, solo, male, female, man, man's, men, woman, woman's,
        women, boy, girl, child, children, children's, kid, kids, person, people, guy, lady, human, gang, group, opera,
        operatic, gospel, soprano, mezzo, alto, tenor, baritone, screamed, screaming, whispered, sung, spoken, doubled,
        double, distorted, clean, dry, wet, low, high, deep, soft, raspy, autotuned, octave, melody, line, lines, two,
        three, several, ad lib, adlib, principale, masculina, femenina, feminina, maschile, femminile, männlich,
        männliche, weiblich, weibliche, homme, femme, hombre, mujer""",
    # words that narrow either
    "both": "background, backing, foreground, live, loud, quiet",
    # words that say nothing
    "neutral": """the, a, an, of, in, this, that, these, all, any, some, only, just, nothing but, please, and, or,
        sound, sounds, song, track, tracks, mix, mixture, audio, recording, file, stem, stems, part, parts, version,
        performance, take, musical, extract, isolate, isolated, isolating, keep, get, give me, separate, separated, la,
        le, les, l, d, el, los, las, il, lo, die, der, das, den, de, du, di, do, da, und, et, e, y, и""",
    # what follows is unwanted
    "no": """no, not, without, minus, non, w o, except, except for, excluding, remove, removes, removing, delete, mute,
        cancel, suppress, strip, eliminate, get rid of, take out, cut out, leave out, turn off, apart from, everything
        but, everything except, everything except for, everything without, everything minus, everything with no,
        everything other than, everything apart from, everything besides, everything excluding, all but, all except, all
        except for, anything but, anything except, ohne, nicht, sans, pas de, sin, sem, senza, zonder, utan, bez, без,
        не""",
    # what came before is unwanted
    "removed": "removed, removal, remover, muted, taken out, cancelled, canceled, eliminated",
    # what follows is only where it is taken from
    "from": "from",
    # a new clause
    "join": "but, with, plus, mit, avec, con, com, с",
}
"""role → the phrases that play it, separated by commas; data, read once."""

_STEM_OF: Final[dict[str, Stem]] = {
    "voice": "vocals",
    "some_voice": "vocals",
    "music": "accompaniment",
    "some_music": "accompaniment",
}
_EXACT: Final = frozenset({"voice", "music"})
_MINUS_SIGN: Final = re.compile(r"(?:^|\s)[-\u2010-\u2015\u2212!~]")  # "mix - vocals" may be a subtraction, or a list


def read_intent(prompt: str) -> Intent | None:
    """The stem that a prompt asks for, or None when it asks for something else or cannot be told for sure."""
    if _MINUS_SIGN.search(prompt):
        return None
    roles = _roles(_words(prompt))
    return None if roles is None else _conclude(roles)


@dataclass
class _Claim:
    """One head word of a prompt: the stem it names, and whether the prompt wants it or wants it gone."""

    stem: Stem
    role: _Role
    wanted: bool
    narrowed: bool


def _conclude(roles: list[_Role]) -> Intent | None:
    """One stem from the roles of a prompt's words, or None when they contradict each other or lack a head."""
    claims: list[_Claim] = []
    clause = 0  # index of the first claim of the clause being read
    negated = removed = source = headless = False
    waiting: set[_Role] = set()  # what still needs a head after it: a negation, a word that narrows
    for role in roles:
        if role in _STEM_OF:
            if removed or ("voice_only" in waiting and _STEM_OF[role] != "vocals"):
                return None
            if not source:
                claims.append(_Claim(_STEM_OF[role], role, not negated, bool(waiting - {"no"})))
            waiting.clear()
        elif role in ("voice_only", "both"):
            # a word after its head narrows it as well: "vocals, male"
            if claims[clause:] and (role == "both" or claims[-1].stem == "vocals"):
                claims[-1].narrowed = True
            else:
                waiting.add(role)
        elif role == "no":
            if "no" in waiting:
                return None
            clause, negated, removed, source = len(claims), True, False, False
            waiting.add(role)
        elif role == "removed":
            if negated or source or not claims[clause:]:
                return None
            for claim in claims[clause:]:
                claim.wanted = False
            clause, removed = len(claims), True
        elif role in ("join", "from"):
            if waiting:
                return None
            headless = headless or not claims
            clause, negated, removed, source = len(claims), False, False, role == "from"
    # "a song with vocals" is the whole song
    return None if waiting or (headless and claims and claims[0].wanted) else _agree(claims)


def _agree(claims: list[_Claim]) -> Intent | None:
    """The stem on which all claims agree: the wanted ones name it, the unwanted ones name the other."""
    other: dict[Stem, Stem] = {"vocals": "accompaniment", "accompaniment": "vocals"}
    stems = {claim.stem if claim.wanted else other[claim.stem] for claim in claims}
    if len(stems) != 1:
        return None
    stem = stems.pop()
    if any(claim.stem == "vocals" and (claim.role not in _EXACT or claim.narrowed) for claim in claims):
        return Intent(stem, _ALL_VOICES)
    if any(claim.role == "some_music" for claim in claims):
        return Intent(stem, _ALL_BUT_VOICES if stem == "accompaniment" else _VOICES_ONLY)
    return Intent(stem, "")


def _words(text: str) -> list[str]:
    """Lowercase words without accents, so that 'música' and 'musica' are one."""
    spelt = unicodedata.normalize("NFKD", text.casefold().replace("’", "'"))
    plain = "".join(c for c in spelt if not "\u0300" <= c <= "\u036f")  # Latin and Cyrillic accents; kana keep theirs
    return re.findall(r"[^\W_]+(?:'s\b)?", unicodedata.normalize("NFC", plain))


@cache
def _table() -> dict[tuple[str, ...], _Role]:
    return {tuple(_words(phrase)): role for role, phrases in _PHRASES.items() for phrase in phrases.split(",")}


def _roles(words: list[str]) -> list[_Role] | None:
    """The role of each longest known phrase in turn, or None when a word is not known."""
    table = _table()
    longest = max(map(len, table))
    roles: list[_Role] = []
    at = 0
    while at < len(words):
        for n in range(min(longest, len(words) - at), 0, -1):
            role = table.get(tuple(words[at : at + n]))
            if role is not None:
                roles.append(role)
                at += n
                break
        else:
            return None
    return roles
