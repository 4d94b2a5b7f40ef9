"""A release in a repository of a Hugging Face hub: `hf://[datasets/]OWNER/NAME[@REVISION]`.

Written through huggingface_hub in commits of many files; read over plain HTTP with our own hashing, since its
snapshot_download accepts bytes that differ (measured). The hub is the one of HF_ENDPOINT, the token the one that
huggingface_hub finds.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from core.errors import ConfigError, DataError, RetryError
from release.publish.parts import Part
from release.publish.place import Blocks, GoneError
from release.publish.web import PASSING, new_session, receive

ADDRESS = re.compile(r"hf://((?:datasets|models)/)?([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")
MAIN = "main"
FILES_A_COMMIT = 200


class Hub:
    """A repository at one revision."""

    def __init__(self, address: str) -> None:
        from huggingface_hub import HfApi, get_token

        found = ADDRESS.fullmatch(address.rstrip("/"))
        if not found:
            raise ConfigError(f"{address!r} is not of the form hf://[datasets/]OWNER/NAME[@REVISION]; correct it")
        self.address = address
        self._kind = "dataset" if found[1] == "datasets/" else "model"
        self._name, self._revision = found[2], found[3] or MAIN
        self._api, self._session, self._token = HfApi(), new_session(), get_token()
        self._waiting: list[tuple[Part, Path]] = []
        self._held: dict[str, Part] | None = None

    def open(self, path: str, *, start: int = 0) -> tuple[int, Blocks]:
        """A file's bytes."""
        kind = "datasets/" if self._kind == "dataset" else ""
        url = f"{self._api.endpoint}/{kind}{self._name}/resolve/{quote(self._revision, safe='')}/{quote(path)}"
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        return receive(self._session, url, start=start, headers=headers)

    def prepare(self) -> None:
        """Make the repository and the branch, if they are not there."""
        with self._talking():
            self._api.create_repo(self._name, repo_type=self._kind, exist_ok=True)
            if self._revision != MAIN:
                self._api.create_branch(self._name, branch=self._revision, repo_type=self._kind, exist_ok=True)

    def has(self, part: Part) -> bool:
        """Whether the hub lists the file with this size, and with this hash where it has one of the kind."""
        held = self.listing().get(part.path)
        return held is not None and held.bytes == part.bytes and (held.algorithm == "git" or held.digest == part.digest)

    def listing(self) -> dict[str, Part]:
        """The files that the hub says it holds, by path: large ones by SHA-256, small ones by git's hash."""
        from huggingface_hub.hf_api import RepoFile

        if self._held is None:
            with self._talking():
                rows = self._api.list_repo_tree(
                    self._name, recursive=True, revision=self._revision, repo_type=self._kind
                )
                files = [row for row in rows if isinstance(row, RepoFile)]
            self._held = {
                file.path: Part(path=file.path, bytes=file.lfs.size, digest=file.lfs.sha256)
                if file.lfs
                else Part(path=file.path, bytes=file.size, digest=file.blob_id, algorithm="git")
                for file in files
            }
        return self._held

    def write(self, part: Part, file: Path) -> None:
        """Take a file up into the next commit."""
        self._waiting.append((part, file))
        if len(self._waiting) >= FILES_A_COMMIT:
            self.finish()

    def finish(self) -> None:
        """Commit what is waiting."""
        from huggingface_hub import CommitOperationAdd

        if not self._waiting:
            return
        message = f"Publish {len(self._waiting)} files"
        with self._talking():
            added = [CommitOperationAdd(path_in_repo=part.path, path_or_fileobj=file) for part, file in self._waiting]
            self._api.create_commit(
                self._name, added, commit_message=message, repo_type=self._kind, revision=self._revision
            )
        self._waiting.clear()
        self._held = None

    @contextmanager
    def _talking(self) -> Iterator[None]:
        """Says in one line what the hub's client ran into."""
        import httpx2
        from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

        try:
            yield
        except (RepositoryNotFoundError, RevisionNotFoundError) as error:
            raise GoneError(f"{self.address} is not on {self._api.endpoint}, or not shown to this token") from error
        except HfHubHTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            kind = RetryError if status >= 500 or status in PASSING else DataError
            raise kind(
                f"{self._api.endpoint} answers {self.address} with HTTP status {status}; check access"
            ) from error
        except (httpx2.HTTPError, OSError) as error:
            said = type(error).__name__
            raise RetryError(f"{self._api.endpoint} cannot be reached ({said}); try again later") from error
        except ValueError as error:
            said = " ".join(str(error).split())
            raise DataError(f"{self._api.endpoint} refuses {self.address}: {said}; correct it") from error
