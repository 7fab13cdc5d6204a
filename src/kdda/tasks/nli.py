"""The task `nli`, natural language inference: its fields, labels, route (/entails), samples and words on the page."""

from __future__ import annotations

from kdda.tasks.base import PageWords
from kdda.tasks.classification import Classification

# How authors of inference data write labels, and which label of the task each is.
LABEL_WORDS = {
    "entailment": "entailment", "entail": "entailment", "entails": "entailment", "e": "entailment",
    "suy ra": "entailment", "suy ra được": "entailment", "kéo theo": "entailment", "hàm ý": "entailment",
    "bao hàm": "entailment",
    "neutral": "neutral", "n": "neutral", "trung lập": "neutral", "trung tính": "neutral",
    "contradiction": "contradiction", "contradictory": "contradiction", "contradicts": "contradiction",
    "c": "contradiction", "mâu thuẫn": "contradiction", "trái ngược": "contradiction", "đối lập": "contradiction",
}  # fmt: skip

NLI = Classification(
    "nli",
    ("premise", "hypothesis"),
    labels=("entailment", "neutral", "contradiction"),
    label_words=LABEL_WORDS,
    methods=("classify", "entails"),
    route="/entails",
    summary="Label a premise and a hypothesis",
    samples=("Cô giáo đang dạy học sinh hát trong lớp.", "Có người đang ở trong lớp học."),
    export_rows=("nli/vi/test", "nli/en/dev"),
    page_words={
        "vi": PageWords(
            tab="So sánh",
            button="So sánh hai câu",
            fields={"premise": "Tiền đề", "hypothesis": "Giả thuyết"},
            labels={"entailment": "suy ra được", "neutral": "trung lập", "contradiction": "mâu thuẫn"},
        ),
        "en": PageWords(
            tab="Compare",
            button="Compare the sentences",
            fields={"premise": "Premise", "hypothesis": "Hypothesis"},
        ),
    },
)
