"""The supply chain: every pin is exact, the environment is sound, and no pin has a known fault.

    python .ci/audit.py constraints/cpu.txt ...

Advisories are asked of the package index with pip-audit. An index that serves none (a mirror, or
no network) cannot vouch for anything: that is said, and fails with `AUDIT=strict`.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

_PIN = re.compile(r"[A-Za-z0-9._-]+==[^=\s]+( ?;.*)?")


def main(files: list[str]) -> int:
    """Check the constraint files; give the exit code."""
    loose = [
        f"{file}:{number}: {line}"
        for file in files
        for number, line in enumerate(Path(file).read_text(encoding="utf-8").splitlines(), 1)
        if line.strip() and not line.startswith("#") and not _PIN.fullmatch(line.strip())
    ]
    if loose:
        print("Not pinned to one version:", *loose, sep="\n  ")
        return 1
    known: dict[str, str] = {}
    unknown: set[str] = set()
    asked: set[str] = set()
    for file in files:
        found = subprocess.run(
            [sys.executable, "-m", "pip_audit", "--requirement", file, "--no-deps",
             "--disable-pip", "--format", "json", "--progress-spinner", "off"],
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
        try:
            packages = json.loads(found.stdout)["dependencies"]
        except (ValueError, KeyError):
            print(f"{file}: pip-audit could not be asked. {found.stderr.strip()[-300:]}")
            unknown.add(file)
            continue
        for package in packages:
            name = f"{package['name']} {package.get('version', '')}".strip()
            asked.add(name)
            if "skip_reason" in package:
                unknown.add(name)
            for fault in package.get("vulns", []):
                known[f"{file}: {name}: {fault['id']}"] = ", ".join(fault["fix_versions"])
    for fault, mended in known.items():
        print(f"{fault} (mended in {mended or 'no release yet'})")
    print(f"{len(asked)} pins: {len(known)} known faults, {len(unknown)} could not be looked up.")
    return int(bool(known) or (bool(unknown) and os.environ.get("AUDIT") == "strict"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
