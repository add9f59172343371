"""Models that come over a network which breaks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hardening.hub import REPOSITORY, Hub, hub

from headsmith.spec.plan import PrunePlan


def _prune(server: Hub, home: Path, texts: Path, out: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    return subprocess.run(
        [
            sys.executable, "-m", "headsmith.cli", "prune", REPOSITORY, "--data", str(texts),
            "--keep", "0.5", "--length", "16", "--no-time", "-o", str(out),
        ],
        env={
            **environment,
            "HF_ENDPOINT": server.url,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1",
            "NO_COLOR": "1",
            "COLUMNS": "200",
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )  # fmt: skip


@pytest.mark.parametrize("broken", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_broken_download_says_so_and_the_next_run_goes_on(
    tiny_encoder: Path, texts_file: Path, tmp_path: Path, broken: str
) -> None:
    home, out = tmp_path / "home", tmp_path / "smaller"
    size = (tiny_encoder / broken).stat().st_size
    with hub(tiny_encoder) as server:
        server.breaks[broken] = size // 2
        stopped = _prune(server, home, texts_file, out)
        assert stopped.returncode != 0
        assert "Traceback" not in stopped.stderr
        assert f"the download of '{REPOSITORY}' broke off" in stopped.stderr
        assert "run it again" in stopped.stderr
        assert sorted(p.name for p in tmp_path.iterdir()) == ["home"]
        del server.breaks[broken]
        done = _prune(server, home, texts_file, out)
        assert done.returncode == 0, done.stderr
    assert PrunePlan.from_json((out / "headsmith-plan.json").read_text()).blocks
    assert (out / "model.safetensors").is_file()
