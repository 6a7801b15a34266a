"""The words of a prompt for a model of any sound: what they name, whether it or everything else is wanted, and how well
the model was measured to answer them."""

from __future__ import annotations

import re
from typing import Final

from engine.bundle import Bundle
from engine.errors import StembridgeError

_REST: Final = re.compile(
    r"^(?:the )?(?:no|non|without|minus|remove|mute|everything (?:except|but|without|minus)|all (?:except|but))"
    r"(?: for)? (?:the )?(?P<what>\S.*)$",
    re.IGNORECASE,
)
_JOINING: Final = re.compile(
    r"[,&+/]|\b(?:and|or|with|without|not|no|but|und|oder|mit|ohne|et|ou|avec|sans|y|con|sin|senza)\b", re.IGNORECASE
)
_ARTICLE: Final = re.compile(r"^(?:the|an?|all the) ")


def read_prompt(prompt: str) -> tuple[str, bool]:
    """What a prompt names, and whether it asks for everything but that ("no drums")."""
    words = " ".join(prompt.split())
    found = _REST.match(words)
    return (found["what"], True) if found else (words, False)


def knows(bundle: Bundle) -> str:
    """What such a model can be asked for: what it answers well, then anything."""
    names = ", ".join(bundle.facts.get("answers", ()))
    return f"{names}; any other sound, in words" if names else "any sound, in words"


def answers_well(bundle: Bundle, prompt: str, *, marked: bool = False) -> bool:
    """Whether what a prompt names, or wants gone, is among the phrases its model was measured to answer well.

    `marked`: whether `+` spans say where the sound is; more phrases are answered well then.
    """
    phrases = [*bundle.facts.get("text_alone", ()), *(bundle.facts.get("with_spans", ()) if marked else ())]
    return spelling(read_prompt(prompt)[0]) in map(spelling, phrases)


def answers_in_part(bundle: Bundle, prompt: str) -> bool:
    """Whether what a prompt names was measured to be separated better than by simple methods, and no more than that."""
    return spelling(read_prompt(prompt)[0]) in map(spelling, bundle.facts.get("in_part", ()))


def names_a_sound(prompt: str) -> bool:
    """Whether a prompt has words at all: a letter or a digit of any script."""
    return re.search(r"[^\W_]", read_prompt(prompt)[0]) is not None


def no_sound(prompt: str) -> StembridgeError:
    """The refusal of a prompt without words."""
    return StembridgeError(
        "unsupported_prompt",
        f"The prompt {prompt!r} names no sound; a prompt is words of any language.",
        "Say what to extract: acoustic guitar.",
    )


def joins(what: str) -> bool:
    """Whether a phrase speaks of several sounds, or of one without another."""
    return _JOINING.search(what) is not None


def spelling(phrase: str) -> str:
    """What "the Hi-Hats", "hi hat" and "hihat" have in common."""
    return re.sub(r"[\s_-]+", "", _ARTICLE.sub("", phrase.casefold())).removesuffix("s")
