"""Kind remote: objects of any store that fsspec reaches, by address and SHA-256; archives, if members are named.

`s3://` is pyarrow's own client behind fsspec's interface: s3fs holds a whole tree of packages to versions that nothing
else here can live with. Every other scheme is what fsspec has for it, and may need a package that is not in the lock.
Credentials are the client's to find (its environment variables and files): none may stand in a recipe.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from core.errors import ConfigError
from data.sources.address import WEB, split_address
from data.sources.download import Receive
from data.sources.linked import LinkedKind

if TYPE_CHECKING:
    from data.sources.config import SourceConfig
    from data.sources.shelf import Shelf

SECRET = re.compile(r"(?i)key|secret|token|passw|credential|auth")


class Remote(LinkedKind):
    """Objects of a store."""

    needed: ClassVar[tuple[str, ...]] = ("urls",)

    def check(self, item: "SourceConfig") -> None:
        """Check the addresses, and that no secret stands among the store's options."""
        super().check(item)
        secret = next((name for name in item.store if SECRET.search(name)), "")
        if secret:
            raise ConfigError(
                f"source {item.name}: store.{secret} looks like a secret, which would be published with the recipe; "
                "leave it to the client's own environment variables or files"
            )

    def check_address(self, url: str, where: str) -> None:
        """An address with a scheme, not one of the web, without a password."""
        parts = split_address(url, where=where)
        if parts.scheme in WEB:
            raise ConfigError(f"{where}: {url!r} is an address of the web; make the source one of kind http")
        if not parts.scheme or "@" in parts.netloc:
            raise ConfigError(f"{where}: the address at {parts.hostname!r} has no scheme or a password; correct it")

    def receive(self, url: str, item: "SourceConfig", shelf: "Shelf") -> Receive:
        """Through the store's client, which is opened when it is needed."""

        def receive(aside: Path) -> None:
            # pyarrow and fsspec cost half a second, which only a download should pay.
            from data.sources.objectstore import receive_object

            receive_object(url, aside, options=item.store, attempts=shelf.attempts)

        return receive
