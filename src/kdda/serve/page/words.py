"""What the page says, in Vietnamese and in English. What a task's tab says is the task's (`PageWords`)."""

from __future__ import annotations

from dataclasses import dataclass

VIETNAMESE, ENGLISH = "Tiếng Việt", "English"


@dataclass(frozen=True)
class Words:
    """One language's words."""

    code: str
    about: str
    language: str
    predict: str
    question: str
    nothing: str
    no_spans: str
    others: str
    corpus: str
    find: str
    source: str
    nowhere: str
    no_corpus: str
    transport: str
    first: str
    second: str
    sentence: str
    epsilon: str
    draw: str
    reads: str
    training: str
    runs: str
    show: str
    no_runs: str
    unfinished: str
    empty: str
    widths: str
    too_long: str
    busy: str
    late: str


WORDS = {
    VIETNAMESE: Words(
        code="vi",
        about="Hỏi đáp trên một đoạn văn hay cả kho văn bản, so sánh hai câu, xem vận chuyển giữa hai mô hình, "
        "theo dõi huấn luyện.",
        language="Ngôn ngữ",
        predict="Dự đoán",
        question="Câu hỏi",
        nothing="Đoạn văn không có câu trả lời.",
        no_spans="Không có đoạn nào được gắn nhãn.",
        others="Các câu trả lời khác: rê chuột hoặc bấm Tab để thấy chúng trong đoạn văn",
        corpus="Hỏi kho văn bản",
        find="Tìm câu trả lời",
        source="Nguồn: {source}",
        nowhere="Không tìm thấy đoạn văn nào liên quan đến câu hỏi này.",
        no_corpus="Máy chủ này chưa có kho văn bản: chạy kdda serve với --index THƯ_MỤC.",
        transport="Vận chuyển",
        first="Mô hình thứ nhất",
        second="Mô hình thứ hai",
        sentence="Câu",
        epsilon="ε: càng nhỏ, phương án vận chuyển càng sắc nét",
        draw="Vẽ",
        reads="{name} đọc {count} token",
        training="Huấn luyện",
        runs="Thư mục kết quả",
        show="Xem",
        no_runs="Chưa có thư mục nào: chạy kdda serve với --runs THƯ_MỤC.",
        unfinished="Chưa chạy xong",
        empty="Hãy điền đủ các ô.",
        widths="Hai mô hình này có số chiều khác nhau nên không so được trạng thái của chúng.",
        too_long="Văn bản quá dài: tối đa {limit} ký tự.",
        busy="Máy chủ đang bận, hãy thử lại sau giây lát.",
        late="Quá thời gian chờ, hãy thử lại.",
    ),
    ENGLISH: Words(
        code="en",
        about="Ask about a passage or a whole corpus, compare two sentences, see transport between two models, "
        "follow training.",
        language="Language",
        predict="Predict",
        question="Question",
        nothing="The passage does not answer this.",
        no_spans="No part of the text has a label.",
        others="Other answers: point at one, or press Tab, to see it in the passage",
        corpus="Ask the corpus",
        find="Find answers",
        source="Source: {source}",
        nowhere="No passage fits this question.",
        no_corpus="This server has no corpus: start kdda serve with --index FOLDER.",
        transport="Transport",
        first="First model",
        second="Second model",
        sentence="Sentence",
        epsilon="ε: the smaller, the sharper the plan",
        draw="Draw",
        reads="{name} reads {count} tokens",
        training="Training",
        runs="Run folder",
        show="Show",
        no_runs="No folder was given: start kdda serve with --runs FOLDER.",
        unfinished="Not finished",
        empty="Please fill in every field.",
        widths="These two models are of different widths: their states have no distance.",
        too_long="The text is too long: at most {limit} characters.",
        busy="The server is busy; please try again in a moment.",
        late="Time is up; please try again.",
    ),
}


def words_of(language: str | None) -> Words:
    """The words of a language by its name on the page; Vietnamese of any other."""
    return WORDS.get(language or VIETNAMESE, WORDS[VIETNAMESE])


def preferred(accept_language: str) -> str:
    """The page's language that a browser prefers; Vietnamese where it prefers neither.

    >>> preferred("en-GB,en;q=0.9"), preferred("vi,en;q=0.5"), preferred("fr")
    ('English', 'Tiếng Việt', 'Tiếng Việt')
    """
    for code in accept_language.lower().split(","):
        for name, words in WORDS.items():
            if code.strip().startswith(words.code):
                return name
    return VIETNAMESE
