"""Plant known bugs one by one and see which test catches each: `python tools/mutate.py [--only WORD]`.

Each entry of `mutations.toml` has a name, a file, the old text (which must occur there exactly once), the new text, and
the tests that should notice. The work is done in a copy of the tree, so an interrupted run leaves nothing behind. Exits
with 1 when a bug was not noticed or an entry no longer fits its file.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]
PACKAGES = ("trading_pipeline", "assets", "resources", "sensors", "sql", "tests", "docs")
RUN = "import sys; sys.path.insert(0, ''); import pytest; sys.exit(pytest.main(sys.argv[1:]))"


def main() -> int:
    """Run the mutations and print a table row for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="run mutations whose name contains this")
    wanted = parser.parse_args().only
    entries = tomllib.loads((ROOT / "tools" / "mutations.toml").read_text(encoding="utf-8"))["mutation"]
    survived = 0
    print("| mutation | caught by |\n|---|---|")
    for entry in entries:
        if wanted in entry["name"]:
            caught = _catch(entry)
            survived += caught is None
            print(f"| {entry['name']} | {caught or 'NOBODY'} |", flush=True)
    return 1 if survived else 0


def _catch(entry: dict[str, str | list[str]]) -> str | None:
    with TemporaryDirectory(prefix="mutant-") as folder:
        tree = Path(folder)
        for package in PACKAGES:
            shutil.copytree(ROOT / package, tree / package, ignore=shutil.ignore_patterns("__pycache__"))
        for file in ("pyproject.toml", "README.md", "workspace.yaml", "dagster.yaml"):
            shutil.copy(ROOT / file, tree / file)
        target = tree / str(entry["file"])
        text, old = target.read_text(encoding="utf-8"), str(entry["old"])
        if text.count(old) != 1:
            return sys.exit(f"{entry['name']}: the old text occurs {text.count(old)} times in {entry['file']}")
        target.write_text(text.replace(old, str(entry["new"])), encoding="utf-8")
        tree.chmod(0o755)
        command = [sys.executable, "-c", RUN, "-x", "-q", *entry["tests"]]
        environment = os.environ | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)  # noqa: S603 - ours
    found = re.search(r"^FAILED (\S+)", done.stdout, flags=re.MULTILINE)
    if done.returncode == 0:
        return None
    if found is None:
        sys.exit(f"{entry['name']}: the tests did not run\n{done.stdout[-2000:]}{done.stderr}")
    return found[1]


if __name__ == "__main__":
    sys.exit(main())
