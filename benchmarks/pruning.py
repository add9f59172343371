"""Pruning on real data: what is left of the accuracy, and how fast it is, beside others.

The data is not part of this repository: `STSB`, `SICK`, `SST2` and `WIKITEXT` name the folders,
and what is not named is left out:

    make bench ONLY=pruning STSB=… SICK=… SST2=… WIKITEXT=… TABLES="sentences peers timing"

Tables are saved row by row in `benchmarks/results`; rows that are there are not measured again,
but for ways whose name holds what `AGAIN` says (`AGAIN=headsmith`, when ours has changed).
Accuracy does not mind a busy machine. `timing`, `latency` and `job` want it to themselves.
"""

import os
from pathlib import Path

from benchmarks import pruning_tables as tables
from headsmith.cli.demo import _model_folder

TABLES = {
    "sentences": (tables.sentences, ("STSB",)),
    "options": (tables.options, ("STSB",)),
    "peers": (tables.peers, ("STSB",)),
    "supervised": (tables.supervised, ("SST2",)),
    "language": (tables.language, ("WIKITEXT",)),
    "distilled": (tables.distilled, ("STSB",)),
    "timing": (tables.timing, ("STSB",)),
    "latency": (tables.latency, ("STSB",)),
    "latency-accuracy": (tables.latency_accuracy, ("STSB",)),
    "job": (tables.job, ("STSB",)),
}


def main() -> None:
    """Make the tables that are asked for, or all."""
    folders = {
        name: Path(os.environ[name])
        for name in ("STSB", "SICK", "SST2", "WIKITEXT")
        if os.environ.get(name) and Path(os.environ[name]).is_dir()
    }
    if not folders:
        print("The topic pruning needs data: make bench ONLY=pruning STSB=folder")
        return
    asked = os.environ.get("TABLES", "").split() or [*TABLES]
    for name in asked:
        if name not in TABLES:
            raise SystemExit(f"TABLES are {', '.join(TABLES)}. Received {name!r}.")
        make, needed = TABLES[name]
        missing = [n for n in needed if n not in folders]
        if missing:
            print(f"{name}: left out, for want of {' and '.join(missing)}=folder")
            continue
        print(f"\n{name}", flush=True)
        make(_model_folder(), folders)


if __name__ == "__main__":
    main()
