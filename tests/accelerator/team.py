"""A team's project in the shape of microsoft/mlops-accelerator-for-edge, made of the files in `project/`: two
models, the second one the copy of the first that the template asks for, and trips that a formula drives."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

PROJECT = Path(__file__).parent / "project"
OTHER = {"nyc_taxi": "london_taxi", "nyc_src": "london_src", "nyc_": "london_", "test_nyc": "test_london"}


def write_project(root: Path, trips: int = 200) -> Path:
    """The project in the folder `root`, which does not exist yet."""
    shutil.copytree(PROJECT, root, ignore=shutil.ignore_patterns("__pycache__"))
    for file in sorted(path for path in PROJECT.rglob("*") if path.is_file()):
        below = file.relative_to(PROJECT).as_posix()
        if "nyc" in below and "__pycache__" not in below:
            copy = root / _renamed(below)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(_renamed(file.read_text("utf-8")), "utf-8")
    config = root / "config" / "model_config.json"
    (nyc,) = json.loads(config.read_text("utf-8"))["models"]
    london = {key: _renamed(value) for key, value in nyc.items()}
    london |= {"HOST_PORT_NUMBER": "5002", "EXPERIMENT_BASE_NAME": "londoncabs"}
    config.write_text(json.dumps({"models": [nyc, london]}, indent=4), "utf-8")
    for model in ("nyc_taxi", "london_taxi"):
        data = root / "mlops" / model / "data"
        data.mkdir()
        for colour in ("green", "yellow"):
            (data / f"{colour}.csv").write_text(_trips(f"{model} {colour}", trips), "utf-8")
    return root


def _renamed(text: str) -> str:
    for old, new in OTHER.items():
        text = text.replace(old, new)
    return text


def _trips(seed: str, count: int) -> str:
    chance = random.Random(seed)
    lines = ["pickup,distance,passengers,cost"]
    for number in range(count):
        distance, passengers, hour = chance.uniform(0.5, 12), chance.randint(1, 4), number % 24
        cost = 2.5 + 2.1 * distance + 0.3 * passengers + (0.5 if hour > 20 else 0) + chance.gauss(0, 0.4)
        lines.append(f"2016-01-{1 + number % 28:02d} {hour:02d}:15:00,{distance:.2f},{passengers},{cost:.2f}")
    return "\n".join(lines) + "\n"
