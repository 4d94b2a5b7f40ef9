"""Real text: what `python -m data fetch` brought, as normalized texts with their languages."""

import json
import re
from hashlib import sha256
from pathlib import Path

from data.reading.extract import open_members, raw_documents
from data.sources.fetch import open_sources
from data.steps.normalize import normalize
from tests.data.parity import Text

# A source in several languages has a folder for each.
FOLDER = re.compile(r"/html/([a-z]{2})-[A-Z]{2}/")


def fetched_texts(folder: Path) -> dict[str, list[Text]]:
    """The distinct texts of every source of a fetch artifact that are not blank, in the order of their SHA-256."""
    languages = {record["name"]: record["language"] for record in json.loads((folder / "sources.json").read_bytes())}
    texts = {}
    for source in open_sources(folder):
        found = {}
        for name, path in source.files:
            for member, stream in open_members(path, source.read) if source.is_archive else [(name, path.open("rb"))]:
                for raw in raw_documents(stream, name=member, read=source.read):
                    text = normalize(raw.text)
                    language = FOLDER.search(raw.origin)
                    found[text] = Text(text, language[1] if language else languages[source.name])
        texts[source.name] = [found[text] for text in sorted(found, key=_order) if text.strip()]
    return texts


def _order(text: str) -> bytes:
    return sha256(text.encode()).digest()
