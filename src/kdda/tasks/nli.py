"""The task `nli`, natural language inference: its fields, labels, route (/entails), samples and words on the page."""

from __future__ import annotations

from kdda.tasks.base import PageWords
from kdda.tasks.classification import Classification

NLI = Classification(
    "nli",
    ("premise", "hypothesis"),
    labels=("entailment", "neutral", "contradiction"),
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
