"""What a change touches, by rules."""

from __future__ import annotations

import pytest

from edgeferry.domain.affected import Change, find_affected, find_removed
from edgeferry.domain.reading import Code, ModelReading, StepReading, select_code

M = "/r/models/a"
PREPARE = StepReading(
    "prepare", f"{M}/prepare.yml", Code(f"{M}/src", "notes\n*.md\n!keep.md"), "/r/conda.yml"
)
TRAIN = StepReading(
    "train", "/r/shared/train.yml", Code("/r/shared/src"), "/r/conda.yml", ("/r/data",), ("prepare",)
)
REGISTER = StepReading("register", "/r/shared/register.yml", after=("train",))
READING = ModelReading(
    "a",
    M,
    pipeline=f"{M}/pipeline.yml",
    own=(f"{M}/model.yaml", f"{M}/smoke", f"{M}/score.py"),
    steps=(PREPARE, TRAIN, REGISTER),
    data=("/r/data",),
    tests=("/r/shared/tests",),
)
ALL = ["prepare", "train", "register"]


@pytest.mark.parametrize(
    ("path", "touched", "steps"),
    [
        pytest.param(
            f"{M}/prepare.yml", True, ALL, id="a component touches its step and what comes after it"
        ),
        pytest.param(f"{M}/src/a.py", True, ALL, id="so does code"),
        pytest.param(f"{M}/src/a.md", False, [], id="code that its ignore file keeps away touches nothing"),
        pytest.param(f"{M}/src/keep.md", True, ALL, id="what the ignore file brings back counts"),
        pytest.param(f"{M}/src/notes/b.py", False, [], id="all below an ignored folder is ignored"),
        pytest.param(f"{M}/src/.amlignore", True, ALL, id="the ignore file itself decides what code is"),
        pytest.param(f"{M}/src/__pycache__/a.pyc", False, [], id="caches are no code"),
        pytest.param(f"{M}/src2/a.py", True, [], id="a folder that begins alike is another one"),
        pytest.param("/r/shared/src/x.py", True, ALL[1:], id="shared code touches from its step on"),
        pytest.param("/r/shared/srcx.py", False, [], id="a file that begins like a folder is none of it"),
        pytest.param("/r/shared/register.yml", True, ALL[2:], id="the last step touches none before it"),
        pytest.param("/r/conda.yml", True, ALL, id="an environment touches all steps that run in it"),
        pytest.param("/r/data/1.csv", True, ALL[1:], id="data touches the step that takes it"),
        pytest.param(f"{M}/pipeline.yml", True, ALL, id="the pipeline touches all steps"),
        pytest.param(f"{M}/model.yaml", True, [], id="model.yaml touches the model alone"),
        pytest.param(f"{M}/score.py", True, [], id="so does score.py"),
        pytest.param(f"{M}/smoke/checks.yml", True, [], id="and smoke checks"),
        pytest.param(f"{M}/README.md", True, [], id="and anything else in its folder"),
        pytest.param("/r/shared/tests/test_x.py", True, [], id="and tests beside its code"),
        pytest.param("/r/edgeferry.toml", True, [], id="what is shared touches every model"),
        pytest.param("/r/environments/prod.toml", True, [], id="at any depth"),
        pytest.param("/r/README.md", False, [], id="anything else touches nothing"),
        pytest.param("/r/models/ab/model.yaml", False, [], id="another model touches it not"),
    ],
)
@pytest.mark.parametrize("kind", ["added", "changed", "deleted"])
def test_one_path(path: str, touched: bool, steps: list[str], kind: str) -> None:
    found = find_affected([READING], ["/r/edgeferry.toml", "/r/environments"], [Change(path, kind)])  # type: ignore[arg-type]
    assert [model.name for model in found] == (["a"] if touched else [])
    assert [step.name for model in found for step in model.steps] == steps
    told = [reason for model in found for reason in model.reasons]
    told += [reason for model in found for step in model.steps for reason in step.reasons]
    assert {(reason.path, reason.kind) for reason in told} == ({(path, kind)} if touched else set())


def test_a_file_that_moved_away_touches_what_it_was_in_and_what_it_is_in() -> None:
    (found,) = find_affected([READING], [], [Change(f"{M}/model.yaml", "renamed", "/r/shared/src/m.py")])
    assert [step.name for step in found.steps] == ALL[1:]
    assert [reason.path for reason in found.reasons] == [f"{M}/model.yaml"]


def test_a_step_after_touched_ones_says_which() -> None:
    (found,) = find_affected([READING], [], [Change("/r/shared/src/x.py", "changed")])
    assert [(step.name, step.after, [r.part for r in step.reasons]) for step in found.steps] == [
        ("train", (), ["its code"]),
        ("register", ("train",), []),
    ]


def test_code_that_is_the_whole_folder_hides_what_it_ignores_but_not_what_is_read_for_itself() -> None:
    step = StepReading("only", f"{M}/c.yml", Code(M, "*\n!*.py\nscore.py"))
    reading = ModelReading("a", M, f"{M}/pipeline.yml", (f"{M}/score.py", f"{M}/model.yaml"), (step,))

    def touched(name: str) -> list[list[str]]:
        return [
            [s.name for s in m.steps]
            for m in find_affected([reading], [], [Change(f"{M}/{name}", "changed")])
        ]

    assert touched("README.md") == []
    assert touched("a.py") == [["only"]]
    assert touched("score.py") == touched("model.yaml") == [[]]


def test_a_model_that_cannot_be_read_is_touched_by_any_change_and_by_none_not() -> None:
    broken = ModelReading("b", "/r/models/b", fault="model.yaml:3: not YAML")
    (found,) = find_affected([broken], [], [Change("/r/README.md", "changed")])
    assert found.fault == "model.yaml:3: not YAML"
    assert find_affected([broken], [], []) == ()


def test_a_model_that_is_gone_is_named() -> None:
    changes = [
        Change("/r/models/old/model.yaml", "deleted"),
        Change("/r/models/new/model.yaml", "renamed", "/r/models/before/model.yaml"),
        Change("/r/models/a/deep/model.yaml", "deleted"),
        Change("/r/models/kept/model.yaml", "deleted"),
    ]
    assert find_removed(["a", "new", "kept"], "/r/models", "model.yaml", changes) == ("before", "old")


def test_code_is_what_training_takes_along() -> None:
    paths = ["/c/a.py", "/c/.gitignore", "/c/.venv/x.py", "/c/b.md", "/d/a.py"]
    assert select_code(Code("/c", "*.md\n.*"), paths) == {"/c/a.py", "/c/.gitignore"}
