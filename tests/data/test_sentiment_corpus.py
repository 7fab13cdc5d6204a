"""The embedded sentiment corpus: sizes, balance, no scene in two splits, and no label from single words."""

import re
from collections import Counter, defaultdict

import pytest

from tests.corpora import accuracy_by_scenes, bag_of_words, corpus_rows, scene

LEAST = {"vi": {"train": 600, "dev": 150, "test": 300}, "en": {"train": 600, "dev": 150}}
LABELS = {"negative", "neutral", "positive"}
DOMAINS = {
    "apps",
    "education",
    "everyday",
    "films and books",
    "food",
    "products",
    "transport",
    "travel",
    "work",
}
# Words and phrases of praise and of blame; a phrase counts where it stands, whatever comes before it.
PRAISE = {
    "vi": """ngon|đẹp|hay|tốt|vui|thích|mê|thương|yêu|sướng|khen|sạch|nhanh|êm|rẻ|tuyệt vời|xuất sắc|hài lòng|ưng|đáng|
    nhiệt tình|thân thiện|dễ thương|tử tế|lễ phép|yên tâm|mừng|hạnh phúc|cười|chuẩn""",
    "en": """good|great|best|better|love|loved|lovely|nice|happy|beautiful|perfect|excellent|friendly|kind|clean|warm|
    enjoy|enjoyed|fun|joy|fresh|charming|brilliant|delightful|generous|recommend|recommended|adore|glad|safe""",
}
BLAME = {
    "vi": """dở|xấu|tệ|chán|buồn|ghét|sợ|khổ|tức|giận|chê|bẩn|chậm|trễ|ồn|đắt|mắc|kinh khủng|tồi|thất vọng|bực|tiếc|
    hỏng|đau|khóc|khó chịu|mệt|nản|lừa|chửi""",
    "en": """bad|worse|worst|hate|hated|ugly|dirty|cold|slow|late|sad|awful|terrible|wrong|broken|failed|dull|poor|
    angry|cry|cried|complain|lost|noise|loud|smell|boring|miserable|rude|fear""",
}


def polarity(text: str, language: str) -> str:
    """The label that a count of words of praise and of blame gives."""
    balance = 0
    for words, step in ((PRAISE[language], 1), (BLAME[language], -1)):
        pattern = "|".join(word.strip() for word in words.split("|"))
        balance += step * len(re.findall(rf"\b(?:{pattern})\b", text.lower()))
    if balance == 0:
        return "neutral"
    return "positive" if balance > 0 else "negative"


@pytest.mark.parametrize("language", LEAST)
def test_splits_are_large_enough_and_balanced(language: str) -> None:
    for split, least in LEAST[language].items():
        found = corpus_rows("sentiment", language, split)
        assert len(found) >= least
        counts = Counter(row["label"] for row in found)
        assert set(counts) == LABELS and len(set(counts.values())) == 1
        assert {row["domain"] for row in found} == DOMAINS


@pytest.mark.parametrize("language", LEAST)
def test_each_scene_has_one_text_of_each_label_in_one_split(language: str) -> None:
    places, labels = defaultdict(set), defaultdict(list)
    for split in LEAST[language]:
        for row in corpus_rows("sentiment", language, split):
            places[scene(row)].add(split)
            labels[scene(row)].append(row["label"])
    assert all(len(splits) == 1 for splits in places.values())
    assert all(sorted(found) == sorted(LABELS) for found in labels.values())


@pytest.mark.parametrize("language", LEAST)
def test_texts_are_clean_and_none_stands_twice(language: str) -> None:
    found = corpus_rows("sentiment", language, *LEAST[language])
    assert len({row["id"] for row in found}) == len({row["text"].lower() for row in found}) == len(found)
    for row in found:
        assert row["text"] == " ".join(row["text"].split()) and row["text"][-1] in '.!?…”"'
        assert 5 <= len(row["text"].split()) <= 60


@pytest.mark.parametrize("language", LEAST)
def test_single_words_do_not_tell_the_label(language: str) -> None:
    found = corpus_rows("sentiment", language, *LEAST[language])
    assert accuracy_by_scenes(bag_of_words(), [row["text"] for row in found], found) <= 65


@pytest.mark.parametrize("language", LEAST)
def test_a_dictionary_of_praise_and_blame_does_not_tell_the_label(language: str) -> None:
    found = corpus_rows("sentiment", language, *LEAST[language])
    right = sum(polarity(row["text"], language) == row["label"] for row in found)
    assert 100 * right / len(found) <= 60
