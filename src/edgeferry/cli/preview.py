"""What `train --dry-run` shows: the job, and every file that would leave the machine."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from edgeferry.cli.console import render_table
from edgeferry.domain.run import Preview


def preview_facts(preview: Preview) -> dict[str, Any]:
    """The preview as JSON."""
    return {
        "document": preview.document,
        "notes": list(preview.notes),
        "size_bytes": preview.size_bytes,
        "uploads": [
            {
                "folder": folder,
                "ignore_file": upload.ignore_file,
                "files": [{"path": file.path, "size_bytes": file.size_bytes} for file in upload.files],
            }
            for folder, upload in preview.uploads.items()
        ],
        "refused": list(preview.refused),
    }


def preview_lines(preview: Preview) -> list[Table | str]:
    """The preview as YAML and tables."""
    lines: list[Table | str] = [preview.document, *preview.notes]
    for folder, upload in preview.uploads.items():
        rule = f" (without what {upload.ignore_file} names)" if upload.ignore_file else ""
        rows = [[file.path, str(file.size_bytes)] for file in upload.files]
        lines.append(render_table(folder + rule, ("file", "bytes"), rows))
        if upload.passengers:
            lines.append(f"mind what is on board: {', '.join(upload.passengers)}; name it in .amlignore")
    count = sum(len(upload.files) for upload in preview.uploads.values())
    lines.append(f"{count} files, {preview.size_bytes} bytes would leave this machine; nothing was sent")
    return lines
