"""Second phase: of equal texts one stays. A task holds the rows of one bucket.

What it writes has a bucket for every source, and one for all that is dropped, each sorted by key.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from data.cleaning.buckets import BucketWriter, read_lines
from data.cleaning.rows import DUPLICATE, Row, precedence
from data.engine import Step
from data.report import Balance, Flow, Sieve, write_counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Settle(Step):
    """Drops all but the first of equal texts, by source in `order`, then by origin.

    inputs   folders of rows by key
    settled  folders that this phase wrote before, of which only the dropped are taken again
    """

    name: ClassVar[str] = "settle"
    sieve: Sieve
    inputs: list[Path]
    settled: list[Path]
    order: list[str]
    is_text_kept: bool

    def run(self, task: int, out: Path) -> None:
        """Settle bucket `task`."""
        balances = {name: Balance(steps={self.sieve.value: Flow()}) for name in self.order}
        lines = [*read_lines(self.inputs, task)]
        lines += read_dropped(self.settled[task : task + 1], self.order)
        with BucketWriter(out, buckets=len(self.order) + 1) as buckets:
            for before, row in self._settled(sorted(map(Row.parse, lines), key=precedence(self.order))):
                if not before.reason:
                    balances[row.source].flow(self.sieve).add(before.size, row.size, reason=row.reason)
                place = len(self.order) if row.reason else self.order.index(row.source)
                buckets.add(place, row.line())
        write_counts(out, balances)

    def _settled(self, rows: Iterable[Row]) -> Iterator[tuple[Row, Row]]:
        last_kept = ""
        for row in rows:
            if row.reason:
                yield row, row
            elif row.key == last_kept:
                yield row, row.dropped(DUPLICATE, is_text_kept=self.is_text_kept)
            else:
                last_kept = row.key
                yield row, row


def read_kept(settled: Iterable[Path], order: Sequence[str], *sources: str) -> Iterator[Row]:
    """The rows of settled buckets that are not dropped: of the named sources, else of all, one after another."""
    folders = list(settled)
    for source in sources or order:
        yield from map(Row.parse, read_lines(folders, order.index(source)))


def read_dropped(settled: Iterable[Path], order: Sequence[str]) -> Iterator[bytes]:
    """The lines of the rows of settled buckets that are dropped."""
    return read_lines(settled, len(order))
