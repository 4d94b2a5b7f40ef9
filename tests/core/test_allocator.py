"""tcmalloc is found where it lies, and what else is preloaded stays."""

from pathlib import Path

from core.allocator import PATTERN, find_tcmalloc, preloading


def test_the_library_is_found_in_the_first_folder_that_has_it(tmp_path: Path) -> None:
    folders = [f"{tmp_path}/lib/*-linux-gnu", f"{tmp_path}/lib64"]
    assert find_tcmalloc(folders) is None
    for folder in ("lib64", "lib/x86_64-linux-gnu"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / PATTERN).touch()
    assert find_tcmalloc(folders) == tmp_path / "lib/x86_64-linux-gnu" / PATTERN
    assert find_tcmalloc(folders[1:]) == tmp_path / "lib64" / PATTERN


def test_it_is_loaded_before_what_the_environment_names_and_once() -> None:
    library = Path("/lib/tc.so")
    assert preloading(library, {}) == {"LD_PRELOAD": "/lib/tc.so"}
    assert preloading(library, {"LD_PRELOAD": "/lib/other.so:/lib/tc.so"}) == {"LD_PRELOAD": "/lib/tc.so:/lib/other.so"}
