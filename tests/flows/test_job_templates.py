"""The job templates for Docker and Kubernetes, held against what Prefect itself knows of these work pools."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import prefect
import pytest
import yaml
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.utilities.templating import apply_values, find_placeholders

from bentos import telemetry
from tests.conftest import ROOT

KNOWN = Path(prefect.__file__).parent / "server/api/collections_data/views/aggregate-worker-metadata.json"


@pytest.fixture(params=["docker", "kubernetes"])
def pool(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def template(pool: str) -> dict[str, Any]:
    return json.loads((ROOT / "deploy" / f"{pool}.json").read_text())


def defaults(template: dict[str, Any]) -> dict[str, Any]:
    properties = template["variables"]["properties"]
    return {name: one["default"] for name, one in properties.items() if "default" in one}


def test_prefect_accepts_the_template(pool: str, template: dict[str, Any]) -> None:
    made = WorkPoolCreate(name="scaled-out", type=pool, base_job_template=template)
    assert made.base_job_template == template


def test_every_part_of_the_configuration_is_known_to_the_worker(pool: str, template: dict[str, Any]) -> None:
    known = json.loads(KNOWN.read_text())[f"prefect-{pool}"][pool]["default_base_job_configuration"]
    assert set(template["job_configuration"]) <= set(known["job_configuration"])
    if pool == "kubernetes":
        ours, theirs = (one["job_configuration"]["job_manifest"] for one in (template, known))
        assert (ours["apiVersion"], ours["kind"]) == (theirs["apiVersion"], theirs["kind"])
        assert set(theirs["spec"]) <= set(ours["spec"])


def test_every_placeholder_is_a_variable_and_every_variable_is_used(template: dict[str, Any]) -> None:
    used = {each.name for each in find_placeholders(json.dumps(template["job_configuration"]))}
    assert used == set(template["variables"]["properties"])


@pytest.mark.parametrize("manifest", ["template", "docs"])
def test_kubernetes_knows_every_field_of_the_jobs(manifest: str) -> None:
    schemas = pytest.importorskip("kubernetes_validate", reason="the extra `manifests` is not installed")
    if manifest == "docs":
        [block] = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "scale-out.md").read_text("utf-8"), re.DOTALL)
        documents = list(yaml.safe_load_all(block))
        assert [one["kind"] for one in documents] == ["Service", "Job"]
    else:
        template = json.loads((ROOT / "deploy" / "kubernetes.json").read_text())
        # As the worker rewrites them.
        given = {"labels": {"run": "1"}, "command": ["prefect"], "env": [{"name": "MODEL_SERVICE_STATE", "value": "/"}]}
        documents = [apply_values(template["job_configuration"]["job_manifest"], defaults(template) | given)]
    for document in documents:
        schemas.validate(document, "1.37", strict=True)


def test_the_defaults_are_of_their_own_types_and_keep_the_state_on_the_volume(template: dict[str, Any]) -> None:
    values = defaults(template)
    jsonschema.validate(values, {**template["variables"], "additionalProperties": False})
    filled = json.dumps(apply_values(template["job_configuration"], values, remove_notset=False))
    assert values["env"]["MODEL_SERVICE_STATE"] == "/state"
    assert "model-as-a-service-state" in filled


def test_no_library_in_a_job_sends_telemetry(template: dict[str, Any]) -> None:
    # A job imports Prefect before anything of ours.
    assert telemetry.variables().items() <= defaults(template)["env"].items()
