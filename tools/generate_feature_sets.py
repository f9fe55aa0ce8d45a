"""Writes the definitions of Alpha158 and Alpha360 from pyqlib's own handlers to the package; it computes no features.

Run `python tools/generate_feature_sets.py` after an upgrade of pyqlib and review the difference.
`--print` writes to standard output instead.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path

TARGET = Path(__file__).parents[1] / "trading_pipeline" / "core" / "features"


def definitions() -> dict[str, str]:
    """Return names, expressions and labels by file name, as JSON with one feature a line."""
    from qlib.contrib.data.handler import Alpha158, Alpha360  # noqa: PLC0415  the import takes seconds
    from qlib.contrib.data.loader import Alpha360DL  # noqa: PLC0415

    # These methods read no state of the handlers, whose constructors would load data.
    alpha158, alpha360 = Alpha158.__new__(Alpha158), Alpha360.__new__(Alpha360)
    return {
        "alpha158.json": _as_json(alpha158.get_feature_config(), alpha158.get_label_config()),
        "alpha360.json": _as_json(Alpha360DL.get_feature_config(), alpha360.get_label_config()),
    }


def _as_json(features: tuple[list[str], list[str]], labels: tuple[list[str], list[str]]) -> str:
    lines = ",\n    ".join(json.dumps([name, expression]) for expression, name in zip(*features, strict=True))
    label = json.dumps([[name, expression] for expression, name in zip(*labels, strict=True)])
    source = json.dumps(f"pyqlib {version('pyqlib')}")
    return f'{{\n  "source": {source},\n  "label": {label},\n  "features": [\n    {lines}\n  ]\n}}\n'


if __name__ == "__main__":
    for file_name, text in definitions().items():
        if "--print" in sys.argv:
            print(text)
        else:
            (TARGET / file_name).write_text(text, encoding="utf-8")
            print(f"wrote {TARGET / file_name}")
