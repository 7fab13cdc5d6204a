"""Languages of texts: by writing system, letters of one language, its commonest words; and by codes in file names.

`UNKNOWN` is the code of a language that nothing here knows.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from kdda.errors import KddaError
from kdda.text.scripts import languages_of_script, script_of

UNKNOWN = "und"  # ISO 639's code of an undetermined language

LEAST_SHARE = 0.06  # of a text's words, that are among the commonest of its language

LEAST_WORDS = 3  # different ones of them

LEAD = 1.25  # how many times more of them than any other language has

LETTER_SHARE = 0.004  # of a text's letters, that only one language of its script writes

MIXED_SHARE = 0.1  # of a text's letters, that are in a second writing system which decides (kana beside CJK)

SIBLINGS = {"id", "ms"}  # share most of their commonest words, so that neither leads by far

# The commonest words of languages in Latin letters that other languages do not share, or rarely.
WORDS = {
    "en": "the of and to in is was that for with are it on as at this by be from an not you he she his have a",
    "vi": "là và của có không những được cho một các người trong với này đã đó tôi về ở",
    "id": "yang dan di itu dengan untuk dari dalam tidak ini adalah pada akan bisa karena sudah ada oleh juga",
    "ms": "yang dan di itu dengan untuk daripada dalam tidak ini ialah pada akan boleh kerana telah ada oleh juga",
    "fr": "le la les des est et dans une que pour pas qui sur du au par avec il elle ce",
    "de": "der die das und ist nicht ein eine mit den von zu auf für sich dem im auch es sie",
    "es": "el la los las que de y en un una por con para es no se su al del como",
    "pt": "o a os as que de e em um uma por com para é não se do da ao como mais",
    "it": "il lo la gli che di e in un una per con è non si della del nel sono come",
    "nl": "de het een en van in is dat op te zijn voor met niet aan er om ook als bij",
    "tr": "bir ve bu için ile de da çok ne daha gibi olarak olan ama en kadar sonra her ben o",
    "sw": "na ya wa kwa ni katika la za kuwa cha hii huo watu yake alikuwa kama lakini hiyo pia au",
    "pl": "i w nie się na z jest że do to jak o ale co po przez tak był od za",
    "cs": "a v se na je že to z do jako ale by pro tak po byl za jsou od i",
    "ro": "și în de la un o cu nu este că pe din care mai pentru sunt au se a fi",
    "sv": "och i att det som en är på för av med den till inte har de om ett han var",
    "da": "og i at det som en er på for af med den til ikke har de om et han var",
    "fi": "ja on ei se että oli hän mutta kun niin joka ovat myös ole mitä sen tai kuin jos tämä",
    "hu": "a az és hogy nem egy is volt meg de ez csak van mint még el ki már azt úgy",
    "tl": "ang ng sa na mga ay at si hindi ni ito para kay nang isang may siya ko po kung",
}

# Of a writing system, the languages that are told by letters which the others do not write; the last one by none.
LETTERS = {
    "LATIN": [("vi", "ơưđăạảấầẩẫậắằẳẵặẹẻẽếềểễệỉịọỏốồổỗộớờởỡợụủứừửữựỳỵỷỹ")],
    "CYRILLIC": [("uk", "іїєґ"), ("be", "ў"), ("sr", "ђћџљњј"), ("kk", "әғқңұ"), ("ru", "ыэ"), ("bg", "ъ")],
    "ARABIC": [("ur", "ٹڈڑےں"), ("fa", "پچژگ"), ("ar", "")],
    "DEVANAGARI": [("mr", "ळ"), ("hi", "")],
    "BENGALI": [("as", "ৰৱ"), ("bn", "")],
    "HEBREW": [("he", "")],
}

# Codes of three letters, as some data sets have them in file names, and names of languages.
OTHER_CODES = {
    "vie": "vi", "eng": "en", "ind": "id", "zsm": "ms", "fra": "fr", "deu": "de", "spa": "es", "por": "pt",
    "ita": "it", "nld": "nl", "tur": "tr", "swh": "sw", "pol": "pl", "ces": "cs", "ron": "ro", "swe": "sv",
    "dan": "da", "fin": "fi", "hun": "hu", "tgl": "tl", "rus": "ru", "ukr": "uk", "bul": "bg", "arb": "ar",
    "pes": "fa", "urd": "ur", "hin": "hi", "ben": "bn", "tha": "th", "zho": "zh", "jpn": "ja", "kor": "ko",
    "khm": "km", "lao": "lo", "mya": "my", "english": "en", "vietnamese": "vi", "indonesian": "id",
}  # fmt: skip

# Codes of countries that are no codes of languages, and what is meant by them.
COUNTRY_CODES = {"vn": "vi", "cn": "zh", "jp": "ja", "cz": "cs", "dk": "da", "gr": "el", "ua": "uk"}

# Codes that are words of file names far more often.
ORDINARY_WORDS = frozenset(["my", "is", "no", "it", "or", "as", "to", "am", "be", "he", "so", "or"])


def language_of_texts(texts: Iterable[str]) -> str:
    """The language that texts are mostly in, by their letters and words; `UNKNOWN` where nothing tells it.

    >>> language_of_texts(["The cat sleeps in the house of my friend."]), language_of_texts(["Con mèo đang ngủ."])
    ('en', 'vi')
    >>> language_of_texts(["Кошка спит, мы её видим."]), language_of_texts(["zub mor kalen tavi"])
    ('ru', 'und')
    """
    text = "\n".join(texts).lower()
    letters = Counter(text)
    scripts: Counter[str] = Counter()
    for character, count in letters.items():
        script = script_of(character)
        if script:
            scripts[script] += count
    total = scripts.total()
    if not total:
        return UNKNOWN
    for script in ("HIRAGANA", "KATAKANA", "HANGUL"):  # beside CJK characters, which Chinese alone has without them
        if scripts[script] > MIXED_SHARE * total:
            return languages_of_script(script)[0]
    script = scripts.most_common(1)[0][0]
    if script == "CJK":
        return "zh"
    return _by_letters(letters, script, total) or _by_words(text, script)


def _by_letters(letters: Counter[str], script: str, total: int) -> str:
    """The language that a text's letters tell, of the only one of its script; empty where they tell none.

    Args:
        letters: of the text, with their numbers.
        total: how many there are.
    """
    for language, distinctive in LETTERS.get(script, ()):
        count = sum(letters[letter] for letter in distinctive)
        if not distinctive or count > LETTER_SHARE * total:
            return language
    languages = languages_of_script(script)
    if len(languages) > 1:
        return ""
    return languages[0]


def _by_words(text: str, script: str) -> str:
    """The language whose commonest words a text in Latin letters has, far more than those of any other."""
    if script != "LATIN":
        return UNKNOWN
    words = Counter(re.findall(r"[^\W\d_]+", text))
    scores = {}
    for language, common in WORDS.items():
        scores[language] = sum(words[word] for word in common.split()) / max(words.total(), 1)
    best = max(scores, key=scores.__getitem__)
    if scores[best] <= LEAST_SHARE or len(set(WORDS[best].split()) & set(words)) < LEAST_WORDS:
        return UNKNOWN
    for language, score in scores.items():
        is_rival = language != best and {language, best} != SIBLINGS
        if is_rival and scores[best] <= LEAD * score:
            return UNKNOWN
    return best


def check_code(language: str) -> None:
    """Refuse a language that a user names otherwise than by its code.

    Raises:
        KddaError: a language's name, the code of a country, or several codes without commas.
    """
    word = language.lower()
    meant = COUNTRY_CODES.get(word, OTHER_CODES.get(word, word))
    is_code = bool(re.fullmatch(r"[a-z]{2,3}([-_]\w+)*", language))
    if is_code and (meant == language or len(language) == 3):  # the codes of three letters may stay as they are
        return
    hint = f' — did you mean "{meant}"?' if re.fullmatch("[a-z]{2,3}", meant) else ""
    raise KddaError(f'--languages: got "{language}", expected codes such as vi or km, with commas between{hint}')


def can_be_told(language: str) -> bool:
    """Whether `language_of_texts` tells texts of a language."""
    told = {*WORDS, "zh", "ja", "ko"}
    for languages in LETTERS.values():
        told.update(code for code, _ in languages)
    return language in told


def language_of_name(name: str) -> str:
    """The language that a file's name tells by a code or a language's name; `UNKNOWN` where it tells none, or several.

    >>> language_of_name("vie_Latn.train.tsv"), language_of_name("xquad.vi.json"), language_of_name("my_rows.csv")
    ('vi', 'vi', 'und')
    >>> language_of_name("hau_Latn.dev.tsv"), language_of_name("dev-context-vi-question-en.json")
    ('hau', 'und')
    """
    with_script = re.search(r"(?<![A-Za-z])([a-z]{3})_[A-Z][a-z]{3}(?![A-Za-z])", name)  # as FLORES names languages
    if with_script:
        return OTHER_CODES.get(with_script[1], with_script[1])
    codes = {}
    for word in re.split(r"[^a-z]+", name.lower()):
        if word in OTHER_CODES or (word not in ORDINARY_WORDS and word in _known_codes()):
            codes[OTHER_CODES.get(word, word)] = True
    if len(codes) != 1:
        return UNKNOWN
    return next(iter(codes))


def code_of(name: str) -> str:
    """The code of a language that a whole name is, of a folder or a cell: a code or a name; `UNKNOWN` of other words.

    >>> code_of("vi"), code_of("hau_Latn"), code_of("English"), code_of("data"), code_of("my")
    ('vi', 'hau', 'en', 'und', 'und')
    """
    with_script = re.fullmatch(r"([a-z]{3})_[A-Z][a-z]{3}", name.strip())
    word = with_script[1] if with_script else name.strip().lower()
    if word in OTHER_CODES:
        return OTHER_CODES[word]
    is_code = word in _known_codes() and word not in ORDINARY_WORDS
    return word if with_script or is_code else UNKNOWN


def _known_codes() -> set[str]:
    """ISO 639-1 codes of languages whose script is known."""
    return set(languages_of_script())
