"""Looks for what a thin bundle holds by digest at mirrors, and keeps none of it."""

from collections.abc import Sequence

from core.errors import DataError
from release.contents import Bundle
from release.publish.fetch import addresses_of
from release.publish.parts import Part
from release.publish.place import GoneError, flaw_at, open_source


def look_for_absent(bundle: Bundle, mirrors: Sequence[str]) -> None:
    """Hash every absent file at the first mirror that has it, and note in `bundle.seen` which are whole there.

    Raises DataError naming a file that a mirror has otherwise, RetryError if one keeps failing.
    """
    sources = [open_source(address) for mirror in mirrors for address in addresses_of(mirror)]
    for entry in bundle.absent.values():
        part = Part(path=entry.path, bytes=entry.bytes, digest=entry.sha256)
        for source in sources:
            try:
                flaw = flaw_at(source, part)
            except GoneError:
                continue
            if flaw:
                raise DataError(f"{entry.path} at {source.address} {flaw}; it is damaged or forged there")
            bundle.seen.add(entry.path)
            break
