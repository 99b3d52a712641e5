"""What of a code folder would leave the machine, as files on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeferry.adapters.upload import list_upload
from edgeferry.domain.snapshot import RefusedFile, UploadFile
from edgeferry.errors import UsageError


def fill(folder: Path, files: dict[str, str]) -> Path:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, "utf-8")
    return folder


def test_every_file_goes_but_bytecode(tmp_path: Path) -> None:
    files = {"b.py": "22", "a/c.txt": "333", "a/__pycache__/c.pyc": "x", ".hidden": "1"}
    upload = list_upload(fill(tmp_path, files))
    assert upload.files == (UploadFile(".hidden", 1), UploadFile("a/c.txt", 3), UploadFile("b.py", 2))
    assert upload.size_bytes == 6
    assert (upload.refused, upload.ignore_file, upload.passengers) == ((), "", ())


def test_the_folders_own_amlignore_counts_before_its_gitignore(tmp_path: Path) -> None:
    files = {"a.csv": "", "a.txt": "", "sub/b.csv": "", ".gitignore": "*.csv\n.gitignore\n"}
    upload = list_upload(fill(tmp_path, {**files, "sub/.amlignore": "*\n"}))
    assert [file.path for file in upload.files] == ["a.txt", "sub/.amlignore"]
    assert upload.ignore_file == ".gitignore"
    upload = list_upload(fill(tmp_path, {".amlignore": "*.txt\n.*\n"}))
    assert [file.path for file in upload.files] == ["a.csv", "sub/b.csv"]
    assert upload.ignore_file == ".amlignore"


def test_keys_are_refused_by_name_and_by_content_unless_they_are_ignored(tmp_path: Path) -> None:
    key = "-----BEGIN EC " + "PRIVATE KEY-----\n"
    fill(tmp_path, {"k.pem": "", "notes.txt": f"\n{key}", "train.py": "", "old/x.key": ""})
    assert list_upload(tmp_path).refused == (
        RefusedFile("k.pem", "named like a key"),
        RefusedFile("notes.txt", "holds a private key"),
        RefusedFile("old/x.key", "named like a key"),
    )
    assert [file.path for file in list_upload(tmp_path).files] == ["train.py"]
    fill(tmp_path, {".amlignore": "old\n*.pem\nnotes.txt\n.amlignore"})
    assert list_upload(tmp_path).refused == ()


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    fill(tmp_path / "else", {"far.txt": "far", "deep/er.txt": ""})
    code = fill(tmp_path / "code", {"sub/a.py": ""})
    (code / "link.txt").symlink_to(tmp_path / "else" / "far.txt")
    (code / "folder").symlink_to(tmp_path / "else", target_is_directory=True)
    (code / "sub" / "up").symlink_to(code, target_is_directory=True)
    (code / "gone").symlink_to(tmp_path / "nowhere")
    paths = {file.path: file.size_bytes for file in list_upload(code).files}
    assert paths == {
        "folder/deep/er.txt": 0,
        "folder/far.txt": 3,
        "link.txt": 3,
        "sub/a.py": 0,
    }


def test_what_no_code_is_made_of_is_named(tmp_path: Path) -> None:
    upload = list_upload(fill(tmp_path, {".git/config": "", "x/.venv/bin/python": "", "a.py": ""}))
    assert upload.passengers == (".git", ".venv")


def test_a_folder_that_is_not_there_is_a_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        list_upload(tmp_path / "none")
