"""What mlcroissant, the reference reader, makes of our Croissant file."""

from pathlib import Path

import mlcroissant
import pytest

from data.corpus.manifest import read_manifest
from data.documents import read_documents


def test_mlcroissant_finds_no_error_and_the_versions_that_are_claimed(published: Path) -> None:
    dataset = mlcroissant.Dataset(str(published / "croissant.json"))
    manifest = read_manifest(published / "manifest.json")
    assert dataset.metadata.ctx.issues.errors == set()
    assert dataset.metadata.ctx.is_v1_1()
    assert "http://mlcommons.org/croissant/RAI/1.0" in dataset.metadata.conforms_to
    assert dataset.metadata.personal_sensitive_information
    assert {file.sha256 for file in dataset.metadata.file_objects} >= {
        shard["bin"]["sha256"] for shard in manifest["shards"]
    }


def test_every_held_out_document_is_streamed_from_the_published_files(published: Path) -> None:
    dataset = mlcroissant.Dataset(str(published / "croissant.json"))
    for source in ("alpha", "beta"):
        name = f"heldout-{source}"
        records = [
            tuple(record[f"{name}/{field}"].decode() for field in ("key", "source", "text", "origin"))
            for record in dataset.records(name)
        ]
        documents = read_documents(published / "heldout" / f"{source}.jsonl")
        assert records == [(one.key, one.source, one.text, one.origin) for one in documents] != []


def test_mlcroissant_refuses_a_held_out_file_that_was_changed(published: Path) -> None:
    path = published / "heldout" / "alpha.jsonl"
    path.write_bytes(path.read_bytes().replace(b"the", b"The", 1))
    dataset = mlcroissant.Dataset(str(published / "croissant.json"))
    with pytest.raises(Exception, match=r"Download\(heldout/alpha\.jsonl\)") as refused:
        list(dataset.records("heldout-alpha"))
    assert "not identical with the reference" in str(refused.value.__cause__)
