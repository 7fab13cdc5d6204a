"""Writing systems of languages, by ISO 639-1 code, and whether a text is written in some of them."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from functools import cache

from kdda.errors import KddaError, unknown_choice

# Writing systems by the first words of Unicode's names for their letters.
_LANGUAGES = {
    "LATIN": "af az bs ca cs cy da de en eo es et eu fi fil fr fy ga gd gl ha hr hu id is it jv ku la lt lv mg ms nl "
    "no om pl pt ro sk sl so sq su sv sw tl tr uz vi xh zu",
    "CYRILLIC": "be bg kk ky mk mn ru sr uk",
    "ARABIC": "ar fa ps sd ug ur",
    "DEVANAGARI": "hi mr ne sa",
    "HEBREW": "he yi",
    "GREEK": "el",
    "ARMENIAN": "hy",
    "GEORGIAN": "ka",
    "BENGALI": "as bn",
    "GUJARATI": "gu",
    "GURMUKHI": "pa",
    "ORIYA": "or",
    "TAMIL": "ta",
    "TELUGU": "te",
    "KANNADA": "kn",
    "MALAYALAM": "ml",
    "SINHALA": "si",
    "THAI": "th",
    "LAO": "lo",
    "MYANMAR": "my",
    "KHMER": "km",
    "TIBETAN": "bo",
    "ETHIOPIC": "am",
    "CJK": "ja zh",
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
    "HANGUL": "ko",
}

ALSO_KNOWN_AS = {"IDEOGRAPHIC": "CJK", "BOPOMOFO": "CJK", "KATAKANA-HIRAGANA": "KATAKANA"}


def scripts_of(languages: Iterable[str]) -> set[str]:
    """The writing systems of some languages.

    Args:
        languages: ISO 639-1 codes.

    Raises:
        KddaError: a code whose writing system is not known.

    >>> sorted(scripts_of(["vi", "ja"]))
    ['CJK', 'HIRAGANA', 'KATAKANA', 'LATIN']
    """
    known = sorted({code for codes in _LANGUAGES.values() for code in codes.split()})
    scripts = set()
    for language in languages:
        if language not in known:
            raise KddaError(unknown_choice("language", language, known))
        for script, codes in _LANGUAGES.items():
            if language in codes.split():
                scripts.add(script)
    return scripts


def languages_of_script(script: str = "") -> list[str]:
    """The ISO 639-1 codes of the languages that are written in a writing system; of all known ones without a name.

    >>> languages_of_script("HANGUL"), len(languages_of_script()) > 80
    (['ko'], True)
    """
    codes: list[str] = []
    for name, languages in _LANGUAGES.items():
        if not script or name == script:
            codes += languages.split()
    return codes


def is_written_in(text: str, scripts: set[str]) -> bool:
    """Whether every letter of a text belongs to one of some writing systems; digits, marks and signs belong to all.

    >>> is_written_in("Hà Nội 2024 😀", {"LATIN"}), is_written_in("Москва", {"LATIN"})
    (True, False)
    """
    return all(script_of(character) in {"", *scripts} for character in text)


@cache
def script_of(character: str) -> str:
    """The writing system of a letter; empty for digits, combining marks, punctuation and signs.

    Letters whose Unicode name begins otherwise, such as ``FULLWIDTH LATIN SMALL LETTER A``, are told by the letter that
    they are compatible with.
    """
    plain = unicodedata.normalize("NFKC", character)[:1]
    if not plain.isalpha():
        return ""
    first_word = unicodedata.name(plain, "UNKNOWN").partition(" ")[0]
    return ALSO_KNOWN_AS.get(first_word, first_word)
