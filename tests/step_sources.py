"""Sources of two tiny steps: one copies a folder, one counts what stands in it."""

COPY = """
import shutil, sys
shutil.copytree(sys.argv[1], sys.argv[2], dirs_exist_ok=True)
print("copied with", sys.argv[3])
"""
COUNT = """
import pathlib, sys
total = sum(len(f.read_text()) for f in pathlib.Path(sys.argv[1]).iterdir())
(pathlib.Path(sys.argv[2]) / "total.txt").write_text(str(total))
"""
