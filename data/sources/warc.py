"""Kind warc: web archives on this machine. Every record is counted by what it holds (data/reading/warc.py)."""

from dataclasses import replace
from typing import TYPE_CHECKING

from core.errors import ConfigError
from data.reading.extract import Format
from data.sources.files import Files

if TYPE_CHECKING:
    from data.sources.config import SourceConfig


class Warc(Files):
    """Files, each a web archive whatever its name."""

    def check(self, item: "SourceConfig") -> None:
        """Check that nothing else is asked for."""
        super().check(item)
        read_as_warc(item)


def read_as_warc(item: "SourceConfig") -> None:
    """Have a source's files read as web archives. Raises ConfigError if the recipe calls them something else."""
    if item.read.format not in (Format.AUTO, Format.WARC):
        kind, read = item.kind.value, item.read.format.value
        raise ConfigError(f"source {item.name} is a {kind}, not {read}; leave out read.format")
    item.read = replace(item.read, format=Format.WARC)
