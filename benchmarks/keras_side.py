"""A process that runs one side of the Keras cases as it is told, line by line.

`python -m benchmarks.keras_side SIDE`, where the side is "ours", "logits", "formula" or "4.34".
Each line on the standard input is a request in JSON, each line on the standard output the answer.
"""

import gc
import json
import os
import sys
import time
from typing import Any

import numpy as np

from benchmarks import keras_work
from benchmarks.keras_cases import cases
from benchmarks.memory import CLEAR, _kilobytes


class Side:
    """The case that is built, and what can be asked of it."""

    call: Any = None

    def make(self, number: int, mode: str) -> list[float]:
        """Build a case and run it once; give what is to agree with the other side."""
        self.drop()
        self.call = keras_work.make(cases()[number], mode)
        found = [float(np.abs(np.asarray(x)).sum(dtype=np.float64)) for x in self.call()]
        # Going through all objects of a framework before each sample would take longer than most
        # samples, and leave the caches cold: what is there now is passed over.
        gc.collect()
        gc.freeze()
        return found

    def drop(self) -> None:
        """Forget the case, so that others have the memory."""
        self.call = None
        gc.unfreeze()
        gc.collect()

    def time(self, loops: int) -> float:
        """Give the seconds of one call."""
        gc.collect()
        gc.disable()
        start = time.perf_counter()
        for _ in range(loops):
            self.call()
        seconds = (time.perf_counter() - start) / loops
        gc.enable()
        return seconds

    def weigh(self, number: int, mode: str) -> int | None:
        """Give the bytes by which the resident set rises at its highest in the first call.

        Compiling is part of it, but TensorFlow keeps the memory of its first call, and a second
        one would look as if it needed none.
        """
        if not CLEAR.exists():
            return None
        self.call = keras_work.make(cases()[number], mode)
        gc.collect()
        CLEAR.write_text("5")
        before = _kilobytes("VmRSS")
        held = self.call()  # held until the peak is read: the result is part of the price
        peak = max(0, _kilobytes("VmHWM") - before) * 1024
        del held
        return peak


def main(side: str) -> None:
    """Answer until the input ends."""
    keras_work.SIDE = side
    # The frameworks print to the standard output now and then: keep it for the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = Side()
    for line in sys.stdin:
        request = json.loads(line)
        answer = getattr(worker, request.pop("do"))(**request)
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
