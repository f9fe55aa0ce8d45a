"""The asset `features` and what reads it, on the trained pipeline."""

from dataclasses import replace
from datetime import date
from pathlib import Path

from support.pipeline import LAST, Pipeline, errors_of

from trading_pipeline.core.sessions import xnys
from trading_pipeline.definitions import build_definitions

SESSION = xnys().shift(LAST, -40)


def test_a_session_made_again_costs_no_computation_and_says_so(trained: Pipeline) -> None:
    """Its bars, set and code are those its features were made of."""
    assert "" == errors_of(trained.run("session_features", session=SESSION))
    metadata = trained.metadata("features", SESSION)
    assert (0, 6, 0) == (metadata["rows_computed"], metadata["rows_reused"], metadata["sessions_changed"])
    assert "0 of 6 rows computed, 6 as they were" == metadata["summary"]
    assert (1.0, 6) == (metadata["coverage"], metadata["fresh"])
    assert 0 < float(str(metadata["missing_share"])) < 0.05


def test_drift_against_the_training_window_is_shown_with_a_picture(trained: Pipeline) -> None:
    """The worst features by name, and how many are beyond the customary readings."""
    assert "" == errors_of(trained.run("session_features", session=SESSION))
    metadata = trained.metadata("features", SESSION)
    worst = metadata["drift_worst"].records
    assert metadata["drift_worst_psi"] == worst[0].data["psi"] > worst[-1].data["psi"] > 0
    assert "alpha_baseline version 1" in str(metadata["drift"])
    assert "data:image/svg+xml;base64," in str(metadata["drift_plot"])


def test_predictions_stop_and_name_the_features_that_differ(trained: Pipeline, tmp_path: Path) -> None:
    """A model never sees other features than those it was trained on."""
    file = tmp_path / "mine.yaml"
    file.write_text("features:\n  KMID: $close-$open\n  MINE: $close\n")
    changed = trained.settings.model_copy(update={"feature_set": str(file)})
    result = replace(trained, defs=build_definitions(changed)).run("trade_session", session=LAST)
    message = errors_of(result)
    assert "159 feature(s) differ" in message
    assert "KLEN is absent" in message


def test_a_model_is_not_trained_on_features_of_another_set(trained: Pipeline, tmp_path: Path) -> None:
    """The sessions to make again are named."""
    file = tmp_path / "mine.yaml"
    file.write_text("features:\n  MINE: $close\n")
    changed = trained.settings.model_copy(update={"feature_set": str(file)})
    message = errors_of(replace(trained, defs=build_definitions(changed)).run("train_model"))
    assert f"{date(2022, 1, 3)} to " in message
    assert "materialise `features` of them again" in message


def test_the_code_version_is_the_hash_of_the_set(trained: Pipeline, tmp_path: Path) -> None:
    """Dagster shows what was made by other definitions as outdated."""
    file = tmp_path / "mine.yaml"
    file.write_text("features:\n  MINE: $close\n")
    versions = []
    for feature_set in ("alpha158", str(file)):
        graph = build_definitions(
            trained.settings.model_copy(update={"feature_set": feature_set})
        ).resolve_asset_graph()
        versions.append({graph.get(key).code_version for key in graph.get_all_asset_keys()})
    assert 2 == len(versions[0]) == len(versions[1])
    assert {None} == versions[0] & versions[1]
