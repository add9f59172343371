"""Peak extra memory of one call, in a process that does nothing else.

`python -m benchmarks.memory TOPIC NUMBER SIDE` prints the bytes by which the resident set rose
at its highest, or nothing where that cannot be told.
"""

import gc
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def weigh(topic: str, number: int, side: str) -> int | None:
    """Measure one side of a case in a fresh process of this interpreter."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", topic, str(number), side],
        check=True,
        capture_output=True,
        text=True,
        # glibc keeps freed memory for later, more and more as a program goes on. Told this, it
        # gives every tensor back at once: what is resident is then what is in use.
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"},
    )
    return int(done.stdout) if done.stdout.strip() else None


def _kilobytes(field: str) -> int:
    (told,) = re.findall(rf"{field}:\s+(\d+) kB", STATUS.read_text())
    return int(told)


def main(topic: str, number: str, side: str) -> None:
    """Print the bytes."""
    if not CLEAR.exists():  # the high-water mark can only be set back on Linux
        return
    cases = list(importlib.import_module(f"benchmarks.{topic}").cases())
    call = getattr(cases[int(number)].make(), side)
    # Once before: threads, kernels and caches that the first call makes are not what is weighed.
    call()
    gc.collect()
    CLEAR.write_text("5")  # high-water mark := what is resident now
    before = _kilobytes("VmRSS")
    # Held until the peak is read: the result is part of the price.
    result = call()
    print(max(0, _kilobytes("VmHWM") - before) * 1024)
    del result


if __name__ == "__main__":
    main(*sys.argv[1:])
