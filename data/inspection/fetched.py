"""What there is to see of stage fetch: sources, licences with their evidence, and raw documents as they are read."""

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from core.artifact import Artifact
from data.inspection.blocks import Block, Cell, Samples, Table, number, sample, size, spread
from data.inspection.choice import chosen, drawn
from data.reading.extract import OnError, Raw, open_members, raw_documents
from data.sources.fetch import INDEX, Source, open_sources

# Of how many files of a source, and of how many documents of each, the samples are drawn.
LOOKED_AT_FILES = 8
LOOKED_AT_DOCUMENTS = 100
EVIDENCE_CHARS = 600


def blocks(artifact: Artifact, *, samples: int, seed: int) -> Iterator[Block]:
    """Tables and samples of a fetch artifact."""
    records: list[dict[str, Any]] = json.loads((artifact.folder / INDEX).read_bytes())
    yield _sources(records)
    if any("records" in record for record in records):
        yield _records(records)
    yield _licences(records)
    yield _evidence(artifact.folder, records)
    for source in open_sources(artifact.folder):
        yield _raw(source, samples=samples, seed=seed)


def _sources(records: list[dict[str, Any]]) -> Table:
    rows = [
        [
            Cell(record["name"]),
            Cell(record["kind"]),
            Cell(f"{record['package']} {record['version']}".strip() or record["file"]),
            Cell(record["language"]),
            number(len(record["files"])),
            size(record["bytes"]),
            Cell(record["sha256"]),
        ]
        for record in records
    ]
    columns = ["source", "kind", "what", "language", "files", "size", "SHA-256 (of several files: of their list)"]
    return Table(title="Sources", columns=columns, rows=rows)


def _records(records: list[dict[str, Any]]) -> Table:
    outcomes = sorted({outcome for record in records for outcome in record.get("records", {})})
    counts = {
        outcome: {
            record["name"]: record["records"][outcome] for record in records if outcome in record.get("records", {})
        }
        for outcome in outcomes
    }
    rows = [[Cell(outcome), number(sum(mine.values())), spread(mine)] for outcome, mine in counts.items()]
    return Table(title="Records of web archives", columns=["outcome", "records", "by source"], rows=rows)


def _licences(records: list[dict[str, Any]]) -> Table:
    rows = [
        [
            Cell(record["name"]),
            Cell(record["license"]),
            Cell(record["license_note"]),
            Cell(", ".join(entry["name"] for entry in record["evidence"]) or "none"),
        ]
        for record in records
    ]
    return Table(title="Licences", columns=["source", "licence", "what it rests on", "evidence"], rows=rows)


def _evidence(folder: Path, records: list[dict[str, Any]]) -> Samples:
    """Each file once, though several sources may rest on it."""
    entries = {entry["sha256"]: entry for record in records for entry in record["evidence"]}
    samples = []
    for sha256, entry in entries.items():
        users = [one["name"] for one in records if sha256 in (mine["sha256"] for mine in one["evidence"])]
        text = (folder / entry["path"]).read_text(encoding="utf-8", errors="replace")
        facts = f"for {', '.join(users)} · SHA-256 {sha256[:16]}…"
        samples.append(sample(text, origin=entry["name"], facts=facts, chars=EVIDENCE_CHARS))
    note = "Files that came with the sources and say under which licence the text stands."
    return Samples(title="Evidence of the licences", samples=samples, note=note)


def _raw(source: Source, *, samples: int, seed: int) -> Samples:
    picked = chosen(_documents(source, seed), count=samples, rank=lambda one: drawn(seed, source.name, *one[:2]))
    return Samples(
        title=f"{source.name}: raw documents",
        samples=[
            sample(raw.text, origin=raw.origin, facts=f"{len(raw.text):,} characters {raw.problem}".strip())
            for _, _, raw in picked
        ],
        note=f"Drawn from the first {LOOKED_AT_DOCUMENTS} documents of {LOOKED_AT_FILES} files, before any cleaning.",
    )


def _documents(source: Source, seed: int) -> Iterator[tuple[str, int, Raw]]:
    """File, number in it and document; what cannot be read is shown with its reason."""
    read = replace(source.read, on_error=OnError.DROP)
    if source.is_archive:
        members = [member for _, path in source.files for member in open_members(path, source.read)]
        for name, content in chosen(members, count=LOOKED_AT_FILES, rank=lambda one: drawn(seed, source.name, one[0])):
            documents = raw_documents(content, name=name, read=read)
            yield from ((name, index, raw) for index, raw in enumerate(islice(documents, LOOKED_AT_DOCUMENTS)))
        return
    for name, path in chosen(source.files, count=LOOKED_AT_FILES, rank=lambda one: drawn(seed, source.name, one[0])):
        with path.open("rb") as stream:
            documents = raw_documents(stream, name=name, read=read)
            yield from ((name, index, raw) for index, raw in enumerate(islice(documents, LOOKED_AT_DOCUMENTS)))
