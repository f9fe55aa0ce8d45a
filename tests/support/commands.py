"""The command line in a process of its own, as a shell would start it."""

import os
import subprocess
import sys
from pathlib import Path

PASSED_ON = ("PATH", "LANG", "HOME", "NUMBA_CACHE_DIR")


def run_command(*arguments: str, folder: Path, home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `trading-pipeline ARGUMENTS` in a folder, with nothing set but PIPELINE_HOME and what is given."""
    inherited = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return subprocess.run(
        [sys.executable, "-c", "from trading_pipeline.cli import main; main()", *arguments],
        cwd=folder,
        env=inherited | {"PIPELINE_HOME": str(home)} | variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
