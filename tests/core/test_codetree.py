"""The hash of the code that a stage runs."""

import shutil
import subprocess
import sys
from pathlib import Path

from core.codetree import MAY_IMPORT, ROOT, code_hash

ASK = "from core.codetree import code_hash; print(code_hash('model'), code_hash('launch'))"


def hashes(root: Path) -> list[str]:
    return subprocess.run(
        [sys.executable, "-c", ASK], cwd=root, capture_output=True, text=True, check=True
    ).stdout.split()


def test_a_stage_s_hash_covers_its_folder_and_what_it_may_import_and_nothing_else(tmp_path: Path) -> None:
    for name in ("core", "model", "launch"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    assert hashes(tmp_path) == [code_hash("model"), code_hash("launch")]
    model, launch = hashes(tmp_path)
    (tmp_path / "model" / "notes.txt").write_text("no code")
    assert hashes(tmp_path) == [model, launch]
    (tmp_path / "model" / "layers.py").open("a").write("# one more line\n")
    assert hashes(tmp_path)[0] != model and hashes(tmp_path)[1] == launch
    (tmp_path / "core" / "errors.py").open("a").write("# one more line\n")
    assert hashes(tmp_path)[1] != launch


def test_a_moved_file_changes_the_hash(tmp_path: Path) -> None:
    for name in ("core", "model", "launch"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "launch" / "table.py").rename(tmp_path / "launch" / "chart.py")
    assert hashes(tmp_path)[1] != code_hash("launch")


def test_the_table_has_no_circle() -> None:
    for name, imports in MAY_IMPORT.items():
        for other in imports:
            assert name not in MAY_IMPORT[other] and set(MAY_IMPORT[other]) <= set(imports)
