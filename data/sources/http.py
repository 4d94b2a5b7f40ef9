"""Kind http: files of the web by address and SHA-256; archives, if members are named."""

from typing import TYPE_CHECKING

from data.sources.address import check_web_address
from data.sources.download import Receive
from data.sources.linked import LinkedKind

if TYPE_CHECKING:
    from data.sources.config import SourceConfig
    from data.sources.shelf import Shelf


class Http(LinkedKind):
    """Files of the web."""

    def check_address(self, url: str, where: str) -> None:
        """An address of http or https without a password."""
        check_web_address(url, where=where)

    def receive(self, url: str, item: "SourceConfig", shelf: "Shelf") -> Receive:
        """Through the client that heeds robots.txt and keeps its distance."""
        return shelf.from_web(url)
