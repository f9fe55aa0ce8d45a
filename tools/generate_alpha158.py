"""Writes the definitions of Alpha158 from pyqlib's own handler to the package; it computes no features.

Run `python tools/generate_alpha158.py` after an upgrade of pyqlib and review the difference.
`--print` writes to standard output instead.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path

TARGET = Path(__file__).parents[1] / "trading_pipeline" / "core" / "features" / "alpha158.json"


def definitions() -> str:
    """Return names, expressions and labels of Alpha158 as JSON, one feature a line."""
    from qlib.contrib.data.handler import Alpha158  # noqa: PLC0415  the import takes ten seconds

    # The two methods read no state of the handler, whose constructor would load data.
    handler = Alpha158.__new__(Alpha158)
    expressions, names = handler.get_feature_config()
    labels, label_names = handler.get_label_config()
    features = ",\n    ".join(json.dumps(pair) for pair in zip(names, expressions, strict=True))
    label = json.dumps(list(zip(label_names, labels, strict=True)))
    source = json.dumps(f"pyqlib {version('pyqlib')}")
    return f'{{\n  "source": {source},\n  "label": {label},\n  "features": [\n    {features}\n  ]\n}}\n'


if __name__ == "__main__":
    if "--print" in sys.argv:
        print(definitions())
    else:
        TARGET.write_text(definitions(), encoding="utf-8")
        print(f"wrote {TARGET}")
