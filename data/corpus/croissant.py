"""croissant.json: a corpus in the vocabulary of dataset catalogues, Croissant 1.1 with the RAI 1.0 fields.

Made from the manifest and never the source of truth. Paths are those of a bundle's folder `data/`, where it lies. The
held-out documents are record sets that a Croissant reader can stream; token shards are files by hash, since the format
has no words for tokens. Where the text is from is said in PROV-O. Dates are left out: they are no property of a corpus.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from data.corpus.accounts import UNREADABLE
from data.report import HELDOUT
from data.shards import files_of

Record = dict[str, Any]

# The context of the specification, with the vocabularies that are used beside it.
CONTEXT: Record = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "name": {"@container": "@language"},
    "parentField": "cr:parentField",
    "path": "cr:path",
    "prov": "http://www.w3.org/ns/prov#",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
CONFORMS_TO = ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"]
FIELDS = {
    "key": "The first 32 hex digits of the SHA-256 of the text.",
    "source": "The name of the source.",
    "origin": "Where in the source the text was found.",
    "text": "The text in its normal form.",
}


def croissant(manifest: Mapping[str, Any]) -> bytes:
    """The file's content, the same bytes for the same manifest."""
    return json.dumps(describe(manifest), ensure_ascii=False, indent=1, sort_keys=True).encode() + b"\n"


def describe(manifest: Mapping[str, Any]) -> Record:
    """A corpus as a Croissant dataset."""
    sources = manifest["sources"]
    total = manifest["cleaning"]["total"]
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "name": manifest["name"],
        "description": (
            f"{total['train']['documents']} documents of {len(sources)} sources, cleaned, as token shards with a fixed "
            f"order, and {total['heldout']['documents']} held-out documents as text. The corpus's root is "
            f"{manifest['roots']['corpus']}.{_forms(manifest['order'])}"
        ),
        "conformsTo": CONFORMS_TO,
        "license": sorted({source["license"] for source in sources}),
        "inLanguage": sorted({source["language"] for source in sources}),
        "version": "1.0.0",
        "identifier": f"sha256:{manifest['roots']['corpus']}",
        "isLiveDataset": False,
        "distribution": list(_files(manifest)),
        "recordSet": [_record_set(entry) for entry in _streamed(manifest)],
        "prov:wasDerivedFrom": [_origin(source) for source in sources],
        **_responsible(manifest),
    }


def _forms(order: Mapping[str, Any]) -> str:
    """How conversations and pairs stand in the field `text`; nothing of plain text."""
    if "form" not in order:
        return ""
    return (
        f" The documents are {order['form']}: of every message U+001E, its role, U+001F and its content; beside a "
        "shard of tokens a mask says which count as targets."
    )


def _files(manifest: Mapping[str, Any]) -> Iterator[Record]:
    for shard in manifest["shards"]:
        for part in files_of(shard):
            yield _file(f"pack/{shard['name']}.{part}", shard[part], "application/octet-stream")
    for entry in manifest["documents"]["files"]:
        if entry["path"].startswith(f"{HELDOUT}/"):
            yield _file(entry["path"], entry, "application/jsonlines")


def _file(path: str, entry: Mapping[str, Any], kind: str) -> Record:
    return {
        "@type": "cr:FileObject",
        "@id": path,
        "name": path.rpartition("/")[2],
        "contentUrl": path,
        "contentSize": f"{entry['bytes']} B",
        "encodingFormat": kind,
        "sha256": entry["sha256"],
    }


def _streamed(manifest: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The held-out files that hold a document: readers stumble over empty ones."""
    files = manifest["documents"]["files"]
    return [entry for entry in files if entry["path"].startswith(f"{HELDOUT}/") and entry["documents"]]


def _record_set(entry: Mapping[str, Any]) -> Record:
    name = entry["path"].removesuffix(".jsonl").replace("/", "-")
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": f"{entry['documents']} documents that no training sees.",
        "key": {"@id": f"{name}/key"},
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"{name}/{field}",
                "name": field,
                "description": meaning,
                "dataType": "sc:Text",
                "source": {"fileObject": {"@id": entry["path"]}, "extract": {"column": field}},
            }
            for field, meaning in FIELDS.items()
        ],
    }


def _origin(source: Mapping[str, Any]) -> Record:
    return {
        "@type": "prov:Entity",
        "@id": source["locator"],
        "prov:label": source["name"],
        "sc:license": source["license"],
        "sc:sha256": source["sha256"],
    }


def _responsible(manifest: Mapping[str, Any]) -> Record:
    """The fields of RAI 1.0 that the manifest has something to say for."""
    total = manifest["cleaning"]["total"]
    reasons = total["dropped"]["reasons"]
    unreadable = sum(count for reason, count in reasons.items() if reason.startswith(UNREADABLE))
    masked = total["masked"]
    kinds = ", ".join(f"{source['name']} ({source['kind']}, {source['locator']})" for source in manifest["sources"])
    return {
        "rai:dataCollection": f"Fetched by exact version and SHA-256: {kinds}.",
        "rai:dataCollectionType": ["Existing datasets"],
        "rai:dataCollectionMissingData": f"{unreadable} documents could not be read and were left out.",
        "rai:dataPreprocessingProtocol": [
            f"{stage['stage']}: configuration {stage['config_sha256']}, code {stage['code']}"
            for stage in manifest["stages"]
        ],
        "rai:dataManipulationProtocol": (
            f"Of {total['in']['documents']} documents {total['dropped']['documents']} were dropped: "
            + (", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items())) or "none")
            + "."
        ),
        "rai:dataBiases": [
            "Languages, subjects and authors are as the sources have them; the mixture's weights are whole numbers in "
            "the manifest."
        ],
        "rai:dataLimitations": [
            "No person has read the text; rules and models decided what stays, and rules made for English prose treat "
            "other text worse."
        ],
        "rai:dataUseCases": ["Training language models; measuring them on the held-out documents."],
        "rai:personalSensitiveInformation": [
            "Masked in the documents that stay: "
            + (", ".join(f"{kind} {count}" for kind, count in sorted(masked.items())) or "nothing")
            + ". Names and what is written of people in prose stay."
        ],
        "rai:dataReleaseMaintenancePlan": (
            "A document is taken down by its key: its tokens are zeroed and a tombstone keeps the hashes of what was "
            f"there. Taken down before this release: {len(manifest['tombstones']['documents'])}."
        ),
    }
