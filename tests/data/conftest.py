"""One small corpus with its manifest for the session; tests that change it work on a copy."""

import shutil
from pathlib import Path

import pytest

from tests.data.corpora import folder_of, make_corpus


@pytest.fixture(scope="session")
def made_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of the stages fetch to manifest. Read only."""
    return make_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture
def corpus_runs(made_corpus: Path, tmp_path: Path) -> Path:
    """A copy of the run that a test may change."""
    return Path(shutil.copytree(made_corpus, tmp_path / "runs"))


@pytest.fixture
def published(made_corpus: Path, tmp_path: Path) -> Path:
    """What a bundle has of the corpus, laid out as there, in a copy that a test may change: its folder `data`."""
    data = tmp_path / "bundle" / "data"
    shutil.copytree(folder_of(made_corpus, "manifest"), data)
    shutil.copytree(folder_of(made_corpus, "pack"), data / "pack")
    shutil.copytree(folder_of(made_corpus, "fetch") / "evidence", data / "evidence")
    shutil.copytree(folder_of(made_corpus, "clean") / "heldout", data / "heldout")
    shutil.copytree(folder_of(made_corpus, "tokenizer"), data.parent / "tokenizer")
    shutil.copy(folder_of(made_corpus, "fetch") / "sources.json", data)
    shutil.copy(folder_of(made_corpus, "clean") / "report.json", data)
    for name in ("artifact.json", "witness"):
        for path in (data / name, data / "pack" / name):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    return data
