import pytest

from edgeferry.domain.pull_progress import Progress
from edgeferry.wire.pull_progress import read_line, sum_up


def line(name, status, current=0, total=0):
    detail = {"progressDetail": {"current": current, "total": total}} if total else {"progressDetail": {}}
    return {"status": status, "id": name, **detail}


def told(*lines):
    layers = {}
    for each in lines:
        layer = read_line(layers.get(each["id"]), each)
        if layer:
            layers[each["id"]] = layer
    return sum_up(layers.values())


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        pytest.param([line("sha256:1", "Pulling from edge/tiny")], Progress(), id="its-name"),
        pytest.param(
            [line("a", "Already exists"), line("b", "Pulling fs layer"), line("c", "Waiting")],
            Progress(layers_done=1, layers=3),
            id="begun",
        ),
        pytest.param(
            [line("a", "Downloading", 10, 100), line("b", "Downloading", 5, 50)],
            Progress(15, 150, layers=2),
            id="fetching",
        ),
        pytest.param(
            [
                line("a", "Downloading", 60, 100),
                line("a", "Retrying in 5 seconds"),
                line("a", "Downloading", 1, 100),
            ],
            Progress(60, 100, layers=1),
            id="what-is-fetched-again-is-no-progress",
        ),
        pytest.param(
            [
                line("a", "Downloading", 1, 100),
                line("a", "Download complete"),
                line("a", "Extracting", 40, 100),
            ],
            Progress(100, 100, 40, layers=1),
            id="unpacking",
        ),
        pytest.param(
            [line("a", "Downloading", 1, 100), line("a", "Extracting", 100, 100), line("a", "Pull complete")],
            Progress(100, 100, 100, 1, 1),
            id="done",
        ),
    ],
)
def test_how_far_a_pull_has_come_is_read_from_the_engines_lines(lines, expected):
    assert told(*lines) == expected


def test_progress_moves_with_bytes_unpacking_and_layers():
    assert Progress(1, 9).moved < Progress(2, 9).moved < Progress(2, 9, 1).moved < Progress(2, 9, 1, 1).moved
