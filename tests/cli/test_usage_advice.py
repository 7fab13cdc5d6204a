"""What is said beside a refusal of the command line's form."""

import pytest

from kdda.cli.shared import app
from kdda.cli.usage_advice import cut_value_advice, usage_advice


@pytest.mark.parametrize(
    ("line", "advice"),
    [
        ("run r.yaml --set limit={train: 100}", '"limit={train: 100}"'),
        ("run r.yaml --set note=two words --seeds 1", '"note=two words"'),
        ("evaluate --labels 0=kéo theo model --data d.jsonl", '"0=kéo theo"'),
        ("evaluate model --labels=0=kéo theo --data d.jsonl", '"--labels=0=kéo theo"'),
        ("predict model --quiet --text a whole sentence", '"a whole sentence"'),
        ("ask idx model Hà Nội ở đâu", '"Hà Nội ở đâu"'),
        ("ask idx --model model question", "--model is no option of this command but an argument"),
        ("serve --model=m", "--model is no option of this command but an argument"),
        ("run --recipe r.yaml", "--recipe is no option of this command but an argument"),
    ],
)
def test_a_mistake_of_form_is_answered_with_what_mends_it(line: str, advice: str) -> None:
    assert advice in usage_advice(app, line.split(" "))


@pytest.mark.parametrize(
    ("line", "message", "advice"),
    [
        ("new rows.csv --labels 0=kéo theo,1=neutral", 'no file "theo,1=neutral"', '"0=kéo theo,1=neutral"'),
        ("new --columns text=comment rows.csw", 'no file "rows.csw"', ""),
        ("new rows.csv --labels 0=kéo theo", 'no file "theo" — did you mean "theory"?', ""),
        ("report --arms a runz", 'no folder "runz"', ""),
    ],
)
def test_a_part_of_a_value_that_was_taken_for_a_file_is_told(line: str, message: str, advice: str) -> None:
    told = cut_value_advice(app, line.split(" "), message)
    assert (advice in told) if advice else told == ""


@pytest.mark.parametrize(
    "line", ["", "nothing", "run r.yaml --wrong 1", "report a b c", "predict model --wrong", "runs -x"]
)
def test_other_mistakes_of_form_get_no_advice(line: str) -> None:
    assert usage_advice(app, line.split(" ")) == ""
