"""Kind huggingface: rows of a dataset of the Hugging Face hub at one revision, streamed through `datasets`.

What is kept and hashed is not the hub's files but the rows: one line of canonical JSON each, with the one column that
holds text, or those of a conversation or pair, in the order of the split. So a configuration of many files, or the
first rows of one that is far too large, is fixed by one SHA-256; whoever has the repository at that revision, from
whatever mirror and with whatever version of `datasets`, can make the same bytes. The revision is a git commit, whose
hash already covers every file of the repository; branches and tags move and are refused. No code of the repository is
run (`datasets` has left that behind).

The hub is the one that HF_ENDPOINT names, and access to gated datasets that of the user's login.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, ClassVar

from core.errors import ConfigError
from data.chat import Form
from data.reading.extract import Format
from data.sources.download import Receive, Wanted
from data.sources.kind import RemoteKind
from data.sources.linked import check_urls, unpinned_urls, wanted_urls

if TYPE_CHECKING:
    from data.sources.config import SourceConfig
    from data.sources.shelf import Shelf

REPOSITORY = re.compile(r"([\w.-]+/)?[\w.-]+")
REVISION = re.compile(r"[0-9a-f]{40}")
SPLIT = re.compile(r"\w+([.-]\w+)*")


@dataclass(kw_only=True, slots=True)
class HubConfig:
    """Field `hub` of a source.

    config      the dataset's configuration (subset); empty for its default
    split       as in train; slices are not streamed, so none may be given
    data_files  globs over the repository's files, in place of what its card says
    rows        at most so many rows from the beginning; 0 for all
    """

    config: str = ""
    split: str = ""
    data_files: list[str] = field(default_factory=list)
    rows: int = 0

    def __post_init__(self) -> None:
        if self.split and not SPLIT.fullmatch(self.split):
            raise ConfigError(f"hub.split {self.split!r} is no name of a split; for its beginning give hub.rows")
        if self.rows < 0:
            raise ConfigError(f"hub.rows is {self.rows}; give 0 for all rows, or how many")


class HuggingFace(RemoteKind):
    """Rows of a dataset of the hub: `package` is its repository, `version` the revision."""

    needed: ClassVar[tuple[str, ...]] = ("package", "version", "hub.split")

    def check(self, item: "SourceConfig") -> None:
        """Check repository, revision and evidence."""
        super().check(item)
        where = f"source {item.name}"
        if not REPOSITORY.fullmatch(item.package):
            raise ConfigError(f"{where}: {item.package!r} is no repository; write owner/name")
        if not REVISION.fullmatch(item.version):
            raise ConfigError(
                f"{where}: version {item.version!r} is no commit; give all 40 hex digits, since branches and tags move"
            )
        if item.evidence:
            raise ConfigError(f"{where}: a hub has no member {item.evidence[0]!r}; name evidence's file in urls")
        if item.read.format not in (Format.AUTO, Format.JSONL):
            raise ConfigError(f"{where} is rows of a table, not {item.read.format.value}; leave out read.format")
        check_urls(item, _check_path)
        item.read = replace(item.read, format=Format.JSONL)

    def unpinned(self, item: "SourceConfig") -> list[str]:
        """The hashes of the rows and of the evidence."""
        return [*([] if item.sha256 else ["sha256"]), *unpinned_urls(item)]

    def wanted(self, item: "SourceConfig", shelf: "Shelf") -> Iterator[Wanted]:
        """The rows as a file of JSON lines, and the files that are evidence."""
        subset = f"-{item.hub.config}" if item.hub.config else ""
        name = f"{item.package}{subset}-{item.hub.split}".replace("/", "--")
        what = f"split {item.hub.split} of {item.package} at {item.version}"
        yield Wanted(name=f"{name}.jsonl", sha256=item.sha256, pin="sha256", what=what, receive=_rows(item, shelf))
        yield from wanted_urls(item, receiver=lambda path: _file(path, item, shelf), is_evidence=lambda _: True)


def _check_path(path: str, where: str) -> None:
    if "://" in path or path.startswith("/") or ".." in PurePosixPath(path).parts:
        raise ConfigError(f"{where}: {path!r} is no file of the repository; write its path, as in README.md")


# `datasets` costs two seconds to import, which only a download should pay.
def _rows(item: "SourceConfig", shelf: "Shelf") -> Receive:
    def receive(aside: Path) -> None:
        from data.sources.hubclient import Split, receive_rows

        split = Split(
            repository=item.package,
            revision=item.version,
            config=item.hub.config,
            split=item.hub.split,
            data_files=tuple(item.hub.data_files),
            column=item.read.text_field,
            rows=item.hub.rows,
            columns=() if item.read.form is Form.TEXT else tuple(item.read.fields),
        )
        receive_rows(split, aside, attempts=shelf.attempts)

    return receive


def _file(path: str, item: "SourceConfig", shelf: "Shelf") -> Receive:
    def receive(aside: Path) -> None:
        from data.sources.hubclient import receive_file

        receive_file(path, aside, repository=item.package, revision=item.version, attempts=shelf.attempts)

    return receive
