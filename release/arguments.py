"""Command-line arguments that are not of the form RECIPE key=value."""

import argparse
from typing import NoReturn

from core.errors import ConfigError


class Parser(argparse.ArgumentParser):
    """Parses arguments; what it refuses is a ConfigError that shows the usage."""

    def __init__(self, usage: str) -> None:
        super().__init__(add_help=False, allow_abbrev=False)
        self._said = usage

    def error(self, message: str) -> NoReturn:
        """Refuse the arguments."""
        raise ConfigError(f"{message}; usage: {self._said}")
