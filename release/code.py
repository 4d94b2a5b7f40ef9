"""The code of a release: exactly the files that ran, as a git bundle, whatever the history and the index say.

Taken are the files that git tracks and those that it neither tracks nor ignores, as they lie in the working tree. The
user's index and object store are only read. What the commit was and whether the tree was clean goes to the witness.
"""

import json
import os
import stat
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from core.errors import ConfigError, DataError
from core.hashing import canonical_json, hash_value, sha256_hex
from release.gitpack import BRANCH, EXECUTABLE, FILE, LINK, CodeFile, git_bundle, tree_id
from release.gitread import check_git_bundle

CodeFiles = dict[str, CodeFile]

# No source file is as large as this; a stray data file would be.
MAX_FILE_BYTES = 32 << 20


def read_checkout(root: Path) -> CodeFiles:
    """The files of the code in a git checkout, by path.

    Raises ConfigError if the folder is not the top of a checkout, or holds a file that cannot be code.
    """
    top = _git(root, "rev-parse", "--show-toplevel").strip()
    if Path(top).resolve() != root.resolve():
        raise ConfigError(f"{root} is not a git checkout but lies in one ({top}); start from a clone of the code")
    names = _git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    return {name: _read_file(root, name) for name in sorted(set(names) - {""}) if os.path.lexists(root / name)}


def write_code(files: CodeFiles, folder: Path, *, imports: Mapping[str, Sequence[str]]) -> None:
    """Write `repo.bundle` and `tree.json` into a folder.

    tree.json holds the tree id, every file's mode and SHA-256, and `imports`: for each folder, those that its stages'
    code hash covers.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "repo.bundle").write_bytes(git_bundle(files))
    (folder / "tree.json").write_bytes(canonical_json(tree_record(files, imports=imports)))


def tree_record(files: CodeFiles, *, imports: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """What tree.json says of the files."""
    rows = [
        {"path": name, "mode": file.mode, "bytes": len(file.content), "sha256": sha256_hex(file.content)}
        for name, file in sorted(files.items())
    ]
    return {"branch": BRANCH, "tree": tree_id(files), "imports": dict(imports), "files": rows}


def read_tree(folder: Path) -> dict[str, Any]:
    """Read tree.json. Raises DataError if it is missing or damaged."""
    path = folder / "tree.json"
    try:
        record: dict[str, Any] = json.loads(path.read_bytes())
        rows = {row["path"]: row["sha256"] for row in record["files"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is missing or damaged: {error}; get the bundle again") from error
    return {**record, "sha256": rows}


def clone(folder: Path, to: Path) -> None:
    """Clone `repo.bundle` and check the clone against `tree.json`; a right clone that is there already is kept.

    Raises DataError if the bundle would unpack to more than code has, if git refuses it, or if the clone has another
    tree.
    """
    if not to.exists():
        check_git_bundle(folder / "repo.bundle")
        command = ["git", "-c", "core.autocrlf=false", "clone", "-q", str(folder / "repo.bundle"), str(to)]
        done = subprocess.run(command, env=_clean_environment(), capture_output=True, text=True, check=False)
        if done.returncode:
            raise DataError(
                f"git cannot clone {folder / 'repo.bundle'}: {_last_line(done.stderr)}; get the bundle again"
            )
    said = read_tree(folder)
    found = tree_record(read_checkout(to), imports=said["imports"])
    if found != {name: said[name] for name in found}:
        raise DataError(
            f"the code in {to} has tree {found['tree']}, not what {folder / 'tree.json'} says ({said['tree']}); "
            f"remove {to.name} or get the bundle again"
        )


def is_checkout_of(root: Path, tree: Mapping[str, Any]) -> bool:
    """Whether a folder is a checkout whose files are those of a tree.json."""
    try:
        return bool(tree_id(read_checkout(root)) == tree["tree"])
    except ConfigError:
        return False


def stage_code_hash(tree: dict[str, Any], folder: str) -> str:
    """What `core.codetree.code_hash` gives for a folder, from tree.json's hashes alone."""
    hashes: dict[str, str] = tree["sha256"]
    folders = tree["imports"][folder]
    return hash_value(
        {name: hashes[name] for name in sorted(hashes) if name.endswith(".py") and name.split("/")[0] in folders}
    )


def commit_facts(root: Path) -> dict[str, Any]:
    """The commit that is checked out, and whether files differ from it."""
    try:
        commit = _git(root, "rev-parse", "--verify", "-q", "HEAD").strip()
    except ConfigError:
        commit = ""
    return {"commit": commit, "is_dirty": bool(_git(root, "status", "--porcelain").strip())}


def _read_file(root: Path, name: str) -> CodeFile:
    path = root / name
    state = path.lstat()
    if stat.S_ISLNK(state.st_mode):
        return CodeFile(mode=LINK, content=os.fsencode(path.readlink()))
    if not stat.S_ISREG(state.st_mode):
        raise ConfigError(f"{path} is another repository or no plain file; move it out of the checkout or ignore it")
    if state.st_size > MAX_FILE_BYTES:
        raise ConfigError(
            f"{path} has {state.st_size} bytes and would be released as code; name it in .gitignore or move it"
        )
    return CodeFile(mode=EXECUTABLE if state.st_mode & stat.S_IXUSR else FILE, content=path.read_bytes())


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    done = subprocess.run(command, env=_clean_environment(), capture_output=True, check=False)
    if done.returncode:
        raise ConfigError(
            f"{root} is not a git checkout that git can read ({_last_line(done.stderr.decode(errors='replace'))}); "
            "a release takes its code from one: clone the code, or run git init there"
        )
    try:
        return done.stdout.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"a file name in {root} is not UTF-8: {error.object[error.start - 20 : error.end]!r}; rename it"
        ) from error


def _clean_environment() -> dict[str, str]:
    """The environment without GIT_DIR, GIT_INDEX_FILE and the like, which a hook would hand down."""
    return {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}


def _last_line(text: str) -> str:
    return text.strip().splitlines()[-1] if text.strip() else "no message"
