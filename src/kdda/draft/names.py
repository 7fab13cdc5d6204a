"""Names that authors of data sets give to columns and labels: `LABEL_COLUMNS`, `TEXT_PAIRS`, `INFERENCE_LABELS`, …"""

from __future__ import annotations

LABEL_COLUMNS = (
    "gold_label", "label", "label_id", "labels", "gold", "verdict", "class", "category", "topic", "sentiment",
    "emotion", "intent", "categories", "topics", "emotions", "genres", "target", "rating", "stars", "y", "label_text",
    "nhãn",
)  # fmt: skip

TEXT_PAIRS = (
    ("premise", "hypothesis"),
    ("premise", "hypo"),
    ("sentence1", "sentence2"),
    ("sentence_1", "sentence_2"),
    ("sentence_a", "sentence_b"),
    ("text1", "text2"),
    ("text_a", "text_b"),
    ("question1", "question2"),
    ("sent1", "sent2"),
    ("s1", "s2"),
    ("context", "hypothesis"),
)

TEXT_COLUMNS = (
    "text", "sentence", "content", "comment", "review", "free_text", "document", "tweet", "body", "utterance",
    "message", "văn bản", "bình luận", "câu",
)  # fmt: skip

EVIDENCE = ("context", "evidence")  # what a claim is checked against; evidence is often empty for one of the labels

QUESTIONS = ("question", "query", "câu hỏi")
CONTEXTS = ("context", "passage", "paragraph", "article", "document", "story")
ANSWERS = ("answers", "answer", "answer_text", "gold_answer")

TOKENS = ("tokens", "words", "token")
TAGS = ("tags", "ner_tags", "ner", "labels", "pos_tags", "tag")
SPANS = ("spans", "index_spans", "entities", "span", "toxic_spans", "label")

OPTIONS = ("options", "choices", "endings", "candidates")
CHOICE_CONTEXTS = ("context", "premise", "passage", "article", "sentence", "ctx", "story")
CHOICE_LABELS = ("label", "answer", "gold", "correct", "answerkey", "answer_key", "gold_label")

SCORES = ("score", "similarity", "similarity_score", "relatedness_score", "gold_score", "label", "labels")

# How authors of inference data write labels, in lower case, and which label of the task each is.
INFERENCE_LABELS = {
    "entailment": "entailment", "entail": "entailment", "entails": "entailment", "e": "entailment",
    "neutral": "neutral", "n": "neutral",
    "contradiction": "contradiction", "contradictory": "contradiction", "contradicts": "contradiction",
    "c": "contradiction",
}  # fmt: skip

# Values that say that a row has no label: no agreement, another one (ViNLI's OTHER), none.
NO_LABEL = ("-", "", "-1", "o", "other", "none", "nan", "null")

LANGUAGE_COLUMNS = ("language", "lang", "locale", "lang_id")

SPLIT_COLUMNS = ("split", "set", "fold", "subset", "partition")

# Names of which one is in nearly every line of names, in whatever company.
USUAL_NAMES = frozenset(["id", "label", "text", "gold_label", "premise", "sentence1", "question", "context", "answer"])


def names_an_id(column: str) -> bool:
    """Whether a column's name is that of an id, or of a row's number (Vietnamese ``STT``)."""
    return column.lower() in ("id", "idx", "index", "stt") or column.lower().endswith("_id")
