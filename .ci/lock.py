"""Write requirements.lock: every package with its version and the hash of the very file that pip chose.

usage: pip install --dry-run --ignore-installed --quiet --report - PACKAGES | python .ci/lock.py > requirements.lock
"""

import json
import sys

HEADER = """\
# The exact set that the golden heads were made with: CPython 3.11, Linux x86-64. Written by `make lock`.
# torch is the CPU build. Where pip would find another build, the hash stops it: name PyTorch's CPU wheels to pip
# (PIP_EXTRA_INDEX_URL or PIP_FIND_LINKS) and install again.
"""


def main() -> None:
    """Read pip's report on standard input, write the lock on standard output."""
    rows = []
    for item in json.load(sys.stdin)["install"]:
        if "archive_info" not in item["download_info"]:  # this project itself: it is never installed
            continue
        name, version = item["metadata"]["name"], item["metadata"]["version"]
        digest = item["download_info"]["archive_info"]["hashes"]["sha256"]
        public = version.partition("+")[0]
        rows.append(f"{name.lower().replace('_', '-')}=={public} \\\n    --hash=sha256:{digest}\n")
    sys.stdout.write(HEADER + "".join(sorted(rows)))


if __name__ == "__main__":
    main()
