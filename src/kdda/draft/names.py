"""Names that authors of data sets give to columns and labels, in English and Vietnamese, compared by `plain_name`.

`LABEL_COLUMNS`, `TEXT_PAIRS`, `QUESTIONS`, `ID_COLUMNS`, `SENTIMENT_LABELS`, `NO_LABEL`, …
"""

from __future__ import annotations

import re

from kdda.data.fields import plain_name
from kdda.tasks.nli import NLI

LABEL_COLUMNS = (
    "gold_label", "label", "nhãn", "label_id", "labels", "gold", "nhãn đúng", "verdict", "class", "category", "topic",
    "sentiment", "emotion", "intent", "categories", "topics", "emotions", "genres", "target", "rating", "stars", "y",
    "label_text", "phân loại", "loại", "lớp", "thể loại", "chủ đề", "cảm xúc", "sắc thái", "ý định", "quan hệ",
    "kết luận", "đánh giá",
)  # fmt: skip

TEXT_PAIRS = (
    ("premise", "hypothesis"),
    ("premise", "hypo"),
    ("tiền đề", "giả thuyết"),
    ("tiền đề", "giả thiết"),
    ("câu tiền đề", "câu giả thuyết"),
    ("sentence1", "sentence2"),
    ("sentence_a", "sentence_b"),
    ("text1", "text2"),
    ("text_a", "text_b"),
    ("question1", "question2"),
    ("sent1", "sent2"),
    ("s1", "s2"),
    ("context", "hypothesis"),
    ("ngữ cảnh", "giả thuyết"),
    ("câu 1", "câu 2"),
    ("câu a", "câu b"),
    ("câu một", "câu hai"),
    ("câu thứ nhất", "câu thứ hai"),
    ("văn bản 1", "văn bản 2"),
    ("đoạn 1", "đoạn 2"),
    ("đoạn văn 1", "đoạn văn 2"),
    ("câu hỏi 1", "câu hỏi 2"),
)

HYPOTHESES = ("hypothesis", "hypo", "giả thuyết", "giả thiết", "câu giả thuyết")  # which only inference has

TEXT_COLUMNS = (
    "text", "sentence", "content", "comment", "review", "free_text", "document", "tweet", "body", "utterance",
    "message", "văn bản", "bình luận", "câu", "nội dung", "nhận xét", "phản hồi", "ý kiến", "tin nhắn", "bài viết",
    "đoạn văn", "đánh giá",
)  # fmt: skip

CLAIMS = ("claim", "statement", "khẳng định", "nhận định", "phát biểu")
EVIDENCE = ("context", "evidence", "bằng chứng", "dẫn chứng", "ngữ cảnh")  # often empty for one of the labels

QUESTIONS = ("question", "query", "câu hỏi")
CONTEXTS = (
    "context", "passage", "paragraph", "article", "document", "story", "ngữ cảnh", "bối cảnh", "đoạn văn", "đoạn trích",
    "bài đọc", "bài viết", "văn bản",
)  # fmt: skip
ANSWERS = ("answers", "answer", "answer_text", "gold_answer", "câu trả lời", "trả lời", "đáp án")
ANSWER_STARTS = ("answer_start", "start", "vị trí bắt đầu", "bắt đầu", "vị trí")

TOKENS = ("tokens", "words", "token", "từ", "các từ")
TAGS = ("tags", "ner_tags", "ner", "labels", "pos_tags", "tag", "nhãn")
SPANS = ("spans", "index_spans", "entities", "span", "toxic_spans", "label", "nhãn")

OPTIONS = ("options", "choices", "endings", "candidates", "lựa chọn", "các lựa chọn", "phương án", "các phương án")
CHOICE_CONTEXTS = (
    "context", "premise", "passage", "article", "sentence", "ctx", "story", "ngữ cảnh", "bối cảnh", "tiền đề",
    "đoạn văn", "bài đọc",
)  # fmt: skip
CHOICE_LABELS = (
    "label", "answer", "gold", "correct", "answerkey", "answer_key", "gold_label", "đáp án đúng", "đáp án", "nhãn",
    "trả lời", "câu trả lời",
)  # fmt: skip

# What a column of one option is called, as `plain_name` has it: choice1, option_b, Phương án A.
OPTION_NAME = re.compile(r"(?:choice|option|ending|luachon|phuongan|dapan)(?:\d+|[a-d])")

SCORES = (
    "score", "similarity", "similarity_score", "relatedness_score", "gold_score", "độ tương đồng", "mức tương đồng",
    "điểm tương đồng", "điểm", "label", "labels",
)  # fmt: skip

# How sentiment is written in Vietnamese, and in English data beside it.
SENTIMENT_LABELS = {
    "tích cực": "positive", "tiêu cực": "negative", "trung tính": "neutral", "trung lập": "neutral",
}  # fmt: skip

# Values that say that a row has no label: no agreement, another one (ViNLI's OTHER), none.
NO_LABEL = ("-", "", "-1", "o", "other", "none", "nan", "null", "khác")

LANGUAGE_COLUMNS = ("language", "lang", "locale", "lang_id", "ngôn ngữ")

SPLIT_COLUMNS = ("split", "set", "fold", "subset", "partition", "tập")

# Columns whose values name rows, if they are all different: pairID of ViNLI and MultiNLI, uid of ANLI.
ID_COLUMNS = ("id", "pairID", "uid", "guid", "example_id", "row_id", "qid", "question_id", "mã", "mã câu")

ROW_NUMBERS = ("idx", "index", "stt", "số thứ tự")  # columns that count rows, and name none

# Names of which one is in nearly every line of names, in whatever company.
USUAL_NAMES = (
    "id", "label", "text", "gold_label", "premise", "sentence1", "question", "context", "answer", "nhãn", "văn bản",
    "nội dung", "tiền đề", "câu 1", "câu hỏi", "ngữ cảnh", "trả lời",
)  # fmt: skip


def is_called(name: str, names: tuple[str, ...]) -> bool:
    """Whether a name is one of some names, however it is written."""
    return plain_name(name) in map(plain_name, names)


def names_an_id(column: str) -> bool:
    """Whether a column's name is that of an id (``sentenceID``), or of a row's number (Vietnamese ``STT``)."""
    return is_called(column, (*ID_COLUMNS, *ROW_NUMBERS)) or column.endswith("ID") or column.lower().endswith("_id")


def inference_label(value: str) -> str:
    """The label of inference that a value of a file is, however it is written; empty of another one."""
    return NLI.label_meant(value)


def english_sentiment(value: str) -> str:
    """The English name of a Vietnamese label of sentiment; empty of another one."""
    name = plain_name(value)
    for written, label in SENTIMENT_LABELS.items():
        if plain_name(written) == name:
            return label
    return ""
