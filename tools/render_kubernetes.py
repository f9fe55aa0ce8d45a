"""Renders the manifests of a Kubernetes deployment from its templates and `dagster.yaml`; contacts no cluster.

`python tools/render_kubernetes.py --image REGISTRY/IMAGE:TAG [--namespace N] [--workers N] [--alpaca]` writes what
`kubectl apply -f -` reads.
"""

import argparse
import sys
from pathlib import Path
from string import Template
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
TEMPLATES = ROOT / "deploy" / "kubernetes"
DAGSTER_HOME = "/dagster"


def render(
    *, image: str, namespace: str = "trading-pipeline", workers: int = 2, alpaca: bool = False
) -> list[dict[str, Any]]:
    """Return all manifests, the instance's `dagster.yaml` among them, in the order in which they are applied.

    `alpaca` adds the processes that an account with `DRY_RUN=false` wants.

    Raises:
        ValueError: the image has no tag or digest, so that pods of one deployment could run different code.
    """
    if ":" not in image.rpartition("/")[2]:
        raise ValueError(f"image {image} has no tag or digest: name the one that was built, such as {image}:1.2.3")
    values = {"image": image, "namespace": namespace, "workers": str(workers), "dagster_home": DAGSTER_HOME}
    manifests: list[dict[str, Any]] = []
    paths = [*sorted(TEMPLATES.glob("*.yaml")), *(sorted(TEMPLATES.glob("alpaca/*.yaml")) if alpaca else [])]
    for path in paths:
        text = Template(path.read_text(encoding="utf-8")).substitute(values)
        manifests += [document for document in yaml.safe_load_all(text) if document]
    manifests.append(_instance(namespace))
    return manifests


def _instance(namespace: str) -> dict[str, Any]:
    """The instance of every process: the project's own `dagster.yaml` with runs as Kubernetes jobs."""
    settings = yaml.safe_load((ROOT / "dagster.yaml").read_text(encoding="utf-8"))
    shared = {"name": "data", "persistentVolumeClaim": {"claimName": "trading-pipeline-data"}}
    settings["run_launcher"] = {
        "module": "dagster_k8s",
        "class": "K8sRunLauncher",
        "config": {
            "job_namespace": namespace,
            "service_account_name": "trading-pipeline",
            "dagster_home": DAGSTER_HOME,
            "instance_config_map": "trading-pipeline-instance",
            "postgres_password_secret": "trading-pipeline-dagster-postgresql",
            "env_config_maps": ["trading-pipeline"],
            "env_secrets": ["trading-pipeline"],
            "volumes": [shared],
            "volume_mounts": [{"name": "data", "mountPath": "/data"}],
            "run_k8s_config": {
                "container_config": {
                    "resources": {"requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"cpu": "4", "memory": "8Gi"}}
                },
                "job_spec_config": {"ttl_seconds_after_finished": 86_400},
            },
        },
    }
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "trading-pipeline-instance", "namespace": namespace},
        "data": {"dagster.yaml": yaml.safe_dump(settings, sort_keys=False)},
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", required=True)
    parser.add_argument("--namespace", default="trading-pipeline")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--alpaca", action="store_true", help="with the processes of an Alpaca account")
    print(yaml.safe_dump_all(render(**vars(parser.parse_args())), sort_keys=False), file=sys.stdout)
