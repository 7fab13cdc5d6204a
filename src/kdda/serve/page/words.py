"""What the page says, in Vietnamese and in English. What a task's tab says is the task's (`PageWords`)."""

from __future__ import annotations

from dataclasses import dataclass

from kdda.runtime.wording import output_language

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
    depths: str
    layers: str
    trained_run: str
    run_hint: str
    before: str
    after: str
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
    experiment: str
    recipe: str
    plan: str
    start: str
    stop: str
    no_experiments: str
    new: str
    running: str
    stopping: str
    elsewhere: str
    finished: str
    stopped: str
    failed: str
    running_now: str
    busy_experiment: str
    expired: str
    runs_finished: str
    runs_finished_of: str
    run_list: str
    run: str
    state: str
    progress: str
    score: str
    teacher_run: str
    run_finished: str
    run_running: str
    run_stopped: str
    run_failed: str
    run_broken: str
    remaining: str
    output: str
    results: str
    student: str
    students: str
    student_hint: str
    no_student: str
    many_fields: str
    download: str


WORDS = {
    VIETNAMESE: Words(
        code="vi",
        about="Hỏi đáp trên một đoạn văn hay cả kho văn bản, so sánh hai câu, xem vận chuyển giữa hai mô hình, "
        "theo dõi huấn luyện, chạy thí nghiệm.",
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
        depths="Độ sâu của tầng: 0 là embedding, 1 là tầng cuối",
        layers="tầng {first}/{of_first} so với tầng {second}/{of_second}",
        trained_run="Trước và sau huấn luyện",
        run_hint="Chọn một lượt chạy: mô hình trò của nó, trước và sau huấn luyện, thay cho mô hình thứ nhất.",
        before="Trước huấn luyện",
        after="Sau huấn luyện",
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
        experiment="Thí nghiệm",
        recipe="Công thức",
        plan="Xem kế hoạch",
        start="Chạy hoặc chạy tiếp",
        stop="Dừng",
        no_experiments="Máy chủ này không chạy thí nghiệm: chạy kdda serve với --experiments THƯ_MỤC.",
        new="Chưa chạy lần nào.",
        running="Đang chạy, bắt đầu lúc {started}. Có thể đóng trang này, thí nghiệm vẫn chạy tiếp.",
        stopping="Đang dừng: lưu checkpoint xong sẽ dừng. Bấm Dừng lần nữa để dừng ngay.",
        elsewhere="Đang chạy trong một tiến trình không do trang này khởi động.",
        finished="Đã chạy xong lúc {ended}.",
        stopped="Đã dừng. Khi chạy tiếp, mỗi lượt chạy dở sẽ tiếp tục từ checkpoint gần nhất.",
        failed="Không chạy xong (mã thoát {code}): xem nhật ký bên dưới.",
        running_now="Đang chạy: {name}.",
        busy_experiment="{name} đang chạy; mỗi lúc chỉ chạy được một thí nghiệm.",
        expired="Máy chủ đã khởi động lại: hãy tải lại trang rồi thử lại.",
        runs_finished="Đã xong {done} lượt chạy.",
        runs_finished_of="Đã xong {done} trên tổng số {planned} lượt chạy.",
        run_list="Các lượt chạy",
        run="Lượt chạy",
        state="Trạng thái",
        progress="Tiến độ",
        score="Điểm",
        teacher_run="mô hình thầy {name}",
        run_finished="xong",
        run_running="đang chạy",
        run_stopped="đã dừng",
        run_failed="thất bại",
        run_broken="hỏng",
        remaining="{share}, còn khoảng {minutes} phút",
        output="Nhật ký",
        results="Kết quả",
        student="Mô hình trò",
        students="Mô hình đã huấn luyện",
        student_hint="Tải mô hình trò đã huấn luyện xong về máy, hoặc dùng thử ngay tại đây.",
        no_student="Chưa có mô hình nào huấn luyện xong.",
        many_fields="Bài toán này cần nhiều ô nhập hơn số ô của trang: hãy dùng kdda predict.",
        download="Tải mô hình về (zip)",
    ),
    ENGLISH: Words(
        code="en",
        about="Ask about a passage or a whole corpus, compare two sentences, see transport between two models, "
        "follow training, run experiments.",
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
        depths="Depth of the layer: 0 the embeddings, 1 the last one",
        layers="layer {first}/{of_first} and layer {second}/{of_second}",
        trained_run="Before and after training",
        run_hint="Choose a run: its student, before and after training, takes the place of the first model.",
        before="Before training",
        after="After training",
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
        experiment="Experiment",
        recipe="Recipe",
        plan="Show the plan",
        start="Start or resume",
        stop="Stop",
        no_experiments="This server runs no experiments: start kdda serve with --experiments FOLDER.",
        new="It has not run yet.",
        running="Running since {started}. It goes on when this page is closed.",
        stopping="Stopping once a checkpoint is written. To stop at once, press Stop again.",
        elsewhere="Running in a process that this page has not started.",
        finished="Finished at {ended}.",
        stopped="Stopped. When it is resumed, each unfinished run continues from its last checkpoint.",
        failed="It did not finish (exit code {code}): see the log below.",
        running_now="Running: {name}.",
        busy_experiment="{name} is running; one experiment runs at a time.",
        expired="The server was restarted: please reload the page and try again.",
        runs_finished="Finished runs: {done}.",
        runs_finished_of="Finished runs: {done} of {planned}.",
        run_list="Runs",
        run="Run",
        state="State",
        progress="Progress",
        score="Score",
        teacher_run="teacher {name}",
        run_finished="finished",
        run_running="running",
        run_stopped="stopped",
        run_failed="failed",
        run_broken="broken",
        remaining="{share}, about {minutes} min left",
        output="Log",
        results="Results",
        student="Student",
        students="Trained models",
        student_hint="Download a student whose training is finished, or ask it here.",
        no_student="No model is finished yet.",
        many_fields="This task has more fields than this page has boxes: use kdda predict.",
        download="Download the model (zip)",
    ),
}


def first_language() -> str:
    """The language of the page as it is sent, before a browser says what it prefers: that of the server's output."""
    for name, words in WORDS.items():
        if words.code == output_language():
            return name
    return ENGLISH


def words_of(language: str | None) -> Words:
    """The words of a language by its name on the page; of any other name those of the page's first language."""
    return WORDS.get(language or "", WORDS[first_language()])


def preferred(accept_language: str) -> str:
    """The page's language that a client prefers; Vietnamese where it prefers neither, the first where it says nothing.

    >>> preferred("en-GB,en;q=0.9"), preferred("vi,en;q=0.5"), preferred("fr"), preferred("")
    ('English', 'Tiếng Việt', 'Tiếng Việt', 'English')
    """
    if not accept_language.strip():
        return first_language()
    for code in accept_language.lower().split(","):
        for name, words in WORDS.items():
            if code.strip().startswith(words.code):
                return name
    return VIETNAMESE
