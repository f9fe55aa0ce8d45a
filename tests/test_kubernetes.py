"""The Kubernetes manifests, rendered and judged without a cluster."""

import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import kubernetes_validate
import pytest
import yaml
from dagster_k8s import K8sRunLauncher

ROOT = Path(__file__).parents[1]
TOOL = ROOT / "tools" / "render_kubernetes.py"
VERSIONS = ("1.30.0", "1.37.0")
"""The oldest version of the API that is supported and the newest that has a schema."""

IMAGE = "registry.example.com/trading/pipeline:1.0.0"
SECRETS = {"trading-pipeline", "trading-pipeline-dagster-postgresql"}
"""Made by the operator; the manifests say what they hold."""


@pytest.fixture(scope="module")
def manifests() -> list[dict[str, Any]]:
    """All manifests of a deployment."""
    return runpy.run_path(str(TOOL))["render"](image=IMAGE, workers=3, alpaca=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_fits_the_schema_of_the_api(manifests: list[dict[str, Any]], version: str) -> None:
    """No unknown field, no wrong type."""
    for manifest in manifests:
        kubernetes_validate.validate(manifest, version, strict=True)
    kinds = [manifest["kind"] for manifest in manifests]
    assert {"Deployment": 7, "Service": 2, "ConfigMap": 2} == {
        kind: kinds.count(kind) for kind in ("Deployment", "Service", "ConfigMap")
    }


def test_without_an_account_nothing_listens_or_sends() -> None:
    """The processes of an Alpaca account are asked for."""
    plain = runpy.run_path(str(TOOL))["render"](image=IMAGE)
    assert set() == {"stream", "slices", "quotes"} & {manifest["metadata"]["name"] for manifest in plain}


def test_the_daemon_records_its_start_before_it_starts_a_run(manifests: list[dict[str, Any]]) -> None:
    """As the stream and the slices do themselves; with the settings of the container it comes before."""
    (daemon,) = (one for one in manifests if (one["kind"], one["metadata"]["name"]) == ("Deployment", "daemon"))
    pod = daemon["spec"]["template"]["spec"]
    (first,) = pod["initContainers"]
    assert ["trading-pipeline", "record-start"] == first["command"]
    assert pod["containers"][0]["envFrom"] == first["envFrom"]


def test_a_wrong_field_would_be_found(manifests: list[dict[str, Any]]) -> None:
    """The schema check can fail."""
    wrong = json.loads(json.dumps(next(one for one in manifests if one["kind"] == "Deployment")))
    wrong["spec"]["replica"] = 3
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


def test_the_launcher_fits_the_schema_of_dagster(manifests: list[dict[str, Any]]) -> None:
    """Runs become jobs of the deployment's own account, secrets, folder and instance."""
    settings = instance(manifests)
    launcher = settings.pop("run_launcher")
    assert ("dagster_k8s", "K8sRunLauncher") == (launcher["module"], launcher["class"])

    @dg.op(config_schema=K8sRunLauncher.config_type())
    def configured() -> None:
        """Take what the launcher takes."""

    @dg.job
    def launched() -> None:
        configured()

    assert dg.validate_run_config(launched, {"ops": {"configured": {"config": launcher["config"]}}})
    with pytest.raises(dg.DagsterInvalidConfigError):
        dg.validate_run_config(launched, {"ops": {"configured": {"config": launcher["config"] | {"job_name": "x"}}}})


def test_the_instance_is_the_one_of_every_other_deployment(manifests: list[dict[str, Any]]) -> None:
    """But for the launcher: storage, lanes and limits do not differ."""
    own = yaml.safe_load((ROOT / "dagster.yaml").read_text())
    rendered = instance(manifests)
    own.pop("run_launcher")
    rendered.pop("run_launcher")
    assert own == rendered


def test_what_pods_refer_to_is_there(manifests: list[dict[str, Any]]) -> None:
    """Configuration, secrets, volume, account and services by name, in one namespace."""
    made = {(one["kind"], one["metadata"]["name"]) for one in manifests} | {("Secret", name) for name in SECRETS}
    launcher = instance(manifests)["run_launcher"]["config"]
    wanted = {("ServiceAccount", launcher["service_account_name"]), ("ConfigMap", launcher["instance_config_map"])}
    wanted |= {("ConfigMap", name) for name in launcher["env_config_maps"]}
    wanted |= {("Secret", name) for name in [*launcher["env_secrets"], launcher["postgres_password_secret"]]}
    deployments = [one for one in manifests if one["kind"] == "Deployment"]
    for one in deployments:
        pod = one["spec"]["template"]["spec"]
        wanted.add(("ServiceAccount", pod["serviceAccountName"]))
        for volume in [*pod["volumes"], *launcher["volumes"]]:
            claim, settings = volume.get("persistentVolumeClaim"), volume.get("configMap")
            wanted.add(("PersistentVolumeClaim", claim["claimName"]) if claim else ("ConfigMap", settings["name"]))
        for container in pod["containers"]:
            assert IMAGE == container["image"]
            assert container["resources"].keys() == {"requests", "limits"}
            for source in container["envFrom"]:
                wanted |= {("ConfigMap" if "configMapRef" in source else "Secret", next(iter(source.values()))["name"])}
            if "--grpc-host" in container["command"]:
                wanted.add(("Service", container["command"][container["command"].index("--grpc-host") + 1]))
    assert set() == wanted - made
    assert 1 == len({one["metadata"]["namespace"] for one in manifests if one["kind"] != "Namespace"})


def test_there_is_one_daemon_and_as_many_workers_as_asked_for(manifests: list[dict[str, Any]]) -> None:
    """Two daemons would fire schedules twice, also for a moment."""
    by_name = {one["metadata"]["name"]: one["spec"] for one in manifests if one["kind"] == "Deployment"}
    assert (1, 3) == (by_name["daemon"]["replicas"], by_name["workers"]["replicas"])
    assert {"type": "Recreate"} == by_name["daemon"]["strategy"]


def test_an_image_without_a_tag_is_refused_and_the_tool_prints_yaml() -> None:
    """Pods of one deployment run one code."""
    with pytest.raises(ValueError, match="no tag or digest"):
        runpy.run_path(str(TOOL))["render"](image="registry:5000/pipeline")
    printed = subprocess.run([sys.executable, TOOL, "--image", IMAGE], capture_output=True, text=True, check=True)
    assert "Namespace" == next(yaml.safe_load_all(printed.stdout))["kind"]


def instance(manifests: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the rendered `dagster.yaml`."""
    found = next(one for one in manifests if one["metadata"]["name"] == "trading-pipeline-instance")
    return yaml.safe_load(found["data"]["dagster.yaml"])
