"""C++ that is made on the spot by the profile's compiler, and loaded."""

import ctypes
import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from core.errors import ConfigError
from core.profile import compiler_path

# No -ffast-math and no part of it that changes a value: the last two flags only give up errno and exceptions' flags.
FLAGS = ("-O3", "-march=native", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")


@cache
def compiled(source: str) -> ctypes.CDLL:
    """Compile and load, once a process: a fraction of a second. Raises ConfigError with what the compiler said."""
    with TemporaryDirectory() as folder:
        text, binary = Path(folder, "native.cpp"), Path(folder, "native.so")
        text.write_text(source, encoding="utf-8")
        made = subprocess.run(
            [compiler_path(), *FLAGS, "-o", str(binary), str(text)], capture_output=True, text=True, check=False
        )
        if made.returncode:
            raise ConfigError(
                f"{compiler_path()} cannot compile the profile's loops ({made.stderr.strip()[:200]}); "
                "mend the compiler, or set profile.is_update_fused=false"
            )
        return ctypes.CDLL(str(binary))
