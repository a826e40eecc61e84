"""KServe manifests are valid to the letter, name secrets only, and are applied only where a cluster is configured."""

from __future__ import annotations

import http.server
import json
import threading
from dataclasses import replace
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

import claimed_med as cm
from claimed_med import lineage
from claimed_med.errors import ContractError, InputError, OutputError, RefusedError
from claimed_med.models import cluster, kserve
from claimed_med.models.deployment import deployed
from claimed_med.testing.crd import faults
from claimed_med.testing.models import decide
from claimed_med.testing.serving import classifier

GOLDEN = Path(__file__).parent / "golden" / "kserve.yaml"
SERVICE = kserve.Service(
    "xray",
    "imaging",
    "registry.example/claimed-med/serve@sha256:" + "0" * 64,
    "s3://models/xray",
    "b" * 64,
    policy_digest="c" * 64,
    account="xray-storage",
    project_secret="claimed-med",  # noqa: S106 - the name of a Secret
    database_secret="predictions",  # noqa: S106 - the name of a Secret
    min_replicas=0,
    canary_percent=10,
    n_gpus=1,
    archives=("https://pacs.example/dicom-web",),
    egress=("10.1.2.3/32:443",),
)
_FILES = {"InferenceService": "kserve_inferenceservices.yaml", "ServingRuntime": "kserve_servingruntimes.yaml"}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    bundle = classifier(folder / "bundle")
    return bundle, decide(bundle, folder / "decision")


@pytest.fixture
def no_cluster(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)


@pytest.fixture
def api(monkeypatch, tmp_path):
    """What takes the place of a cluster's API: keeps every request, and refuses the kinds in `refused`."""
    taken, refused = [], set()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_PATCH(self):
            content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            taken.append((self.path, self.headers["Content-Type"], content))
            self.send_response(403 if content["kind"] in refused else 200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    place = {"server": f"http://127.0.0.1:{server.server_port}"}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": place}],
        "users": [{"name": "test", "user": {"token": "t"}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "current-context": "test",
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "kubeconfig"))
    yield taken, refused
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    "changes",
    [{}, {"n_gpus": 0, "canary_percent": 100, "override": "ticket 7", "database_secret": ""}, {"protocol": "grpc"}],
)
def test_manifests_are_valid_to_the_letter(changes, data):
    for manifest in kserve.manifests(replace(SERVICE, **changes)):
        if manifest["kind"] in _FILES:
            assert faults(manifest, data.parent / "specs" / _FILES[manifest["kind"]]) == []
        else:
            kubernetes_validate.validate(manifest, "1.30", strict=True)


def test_a_field_that_kserve_does_not_know_is_a_fault(data):
    manifest = kserve.manifests(SERVICE)[-1]
    manifest["spec"]["predictor"]["canaryTrafficPercentage"] = 10
    assert faults(manifest, data.parent / "specs" / _FILES["InferenceService"])


def test_manifests_are_as_committed():
    text = deployed("a test", SERVICE.bundle_digest, kserve.manifests(SERVICE), apply=False).files["manifests.yaml"]
    assert text.decode() == GOLDEN.read_text()
    assert list(yaml.safe_load_all(text)) == kserve.manifests(SERVICE)


def test_what_was_asked_for_is_in_them():
    network, runtime, service = kserve.manifests(SERVICE)
    predictor = service["spec"]["predictor"]
    container = runtime["spec"]["containers"][0]
    assert (predictor["minReplicas"], predictor["canaryTrafficPercent"]) == (0, 10)
    assert predictor["model"]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys()
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert all("valueFrom" in one for one in container["env"] if one["name"] != "HOME")
    assert network["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert "--allow-origin" in container["args"]


def test_a_canary_pins_its_bundle_and_leaves_the_pin_of_the_revision_beside_it():
    both = [replace(SERVICE, bundle_digest=one * 64, canary_percent=n) for one, n in (("a", 100), ("b", 10))]
    stable, canary = (kserve.manifests(one) for one in both)
    assert stable[1]["metadata"]["name"] != canary[1]["metadata"]["name"]
    for (_, runtime, service), digest in ((stable, "a" * 64), (canary, "b" * 64)):
        words = runtime["spec"]["containers"][0]["args"]
        assert words[words.index("--expect") + 1] == digest
        assert service["spec"]["predictor"]["model"]["runtime"] == runtime["metadata"]["name"]
    assert stable[2]["metadata"]["name"] == canary[2]["metadata"]["name"]


def test_lineage_and_pictures_are_kept_on_the_volumes_that_were_named(data):
    _, runtime, _ = kserve.manifests(replace(SERVICE, lineage_claim="records", pictures_claim="pictures"))
    container = runtime["spec"]["containers"][0]
    mounts = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
    claims = {
        one["name"]: one["persistentVolumeClaim"]["claimName"]
        for one in runtime["spec"]["volumes"]
        if "persistentVolumeClaim" in one
    }
    assert claims == {"lineage": "records", "pictures": "pictures"}
    for what in claims:
        assert container["args"][container["args"].index(f"--{what}") + 1] == mounts[what]
    assert faults(runtime, data.parent / "specs" / _FILES["ServingRuntime"]) == []
    assert not {"--lineage", "--pictures"} & set(kserve.manifests(SERVICE)[1]["spec"]["containers"][0]["args"])
    with pytest.raises(ContractError, match="lineage_claim is no name"):
        replace(SERVICE, lineage_claim="../x")


def test_one_port_is_routed_and_its_name_says_what_it_speaks():
    found = {}
    for protocol in ("rest", "grpc"):
        _, runtime, service = kserve.manifests(replace(SERVICE, protocol=protocol))
        container = runtime["spec"]["containers"][0]
        (port,) = container["ports"]
        version = service["spec"]["predictor"]["model"]["protocolVersion"]
        assert version in runtime["spec"]["protocolVersions"]
        assert {str(kserve.GRPC_PORT), str(kserve.HTTP_PORT)} <= set(container["args"])
        probed = {
            told.get("httpGet", told.get("tcpSocket", {}))["port"]
            for name, told in container.items()
            if name.endswith("Probe")
        }
        found[protocol] = (port["name"], port["containerPort"], version, probed)
    assert found == {"rest": ("http1", 8080, "v2", {8080}), "grpc": ("h2c", 8081, "grpc-v2", {8081})}


def test_the_words_of_the_pod_are_words_of_the_server(monkeypatch, tmp_path):
    from claimed_med.services.serve_options import parser

    given = parser().parse_args(kserve.arguments(replace(SERVICE, override="ticket 7")))
    assert (given.name, given.host, given.behind_tls_proxy, given.override) == ("xray", "0.0.0.0", True, "ticket 7")  # noqa: S104 - of a pod


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "X Ray"},
        {"storage_uri": "/etc"},
        {"max_replicas": 0},
        {"egress": ("pacs",)},
        {"namespace": "a/b"},
        {"protocol": "h2"},
        {"memory": "lots"},
        {"cpu": ""},
        {"image": "claimed-med serve"},
        {"image": "serve@sha256:12"},
        {"project_secret": "A B"},
        {"token_secret": ""},
        {"archives": ("pacs",)},
        {"archives": ("https://user:secret@pacs.example/dicom-web",)},
    ],
)
def test_what_kubernetes_does_not_take_is_refused(changes):
    with pytest.raises(ContractError, match="deploy-kserve"):
        replace(SERVICE, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"memory": "500M", "cpu": "1.5"},
        {"cpu": "500m", "image": "localhost:5000/claimed-med/serve:1.0"},
        {"account": "", "project_secret": "", "database_secret": "pg.predictions-1"},
        {"archives": ("http://10.0.0.1:8042/dicom-web", "https://pacs.example")},
    ],
)
def test_what_kubernetes_takes_is_taken(changes):
    assert kserve.manifests(replace(SERVICE, **changes))


def test_without_a_cluster_manifests_are_written_and_it_says_so(model, no_cluster):
    made = cm.deploy_kserve(cm.ModelBundle(model[0]), cm.Decision(model[1]), storage_uri="s3://models/x")
    assert made.state == "written"
    assert made.deployment.load()["state"] == "written"
    assert "manifests.yaml" in made.deployment.payload()


def test_with_a_cluster_they_are_applied_in_order(model, api):
    taken, _ = api
    made = cm.deploy_kserve(cm.ModelBundle(model[0]), cm.Decision(model[1]), storage_uri="s3://models/x", name="xray")
    assert made.state == "applied"
    assert [one[2]["kind"] for one in taken] == ["NetworkPolicy", "ServingRuntime", "InferenceService"]
    path, kind, _ = taken[-1]
    assert path.startswith("/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices/xray?")
    assert "fieldManager=claimed-med" in path
    assert kind == "application/apply-patch+yaml"


def test_a_refusal_of_the_cluster_is_an_error_that_says_how_far_it_went(api):
    _, refused = api
    refused.add("InferenceService")
    with pytest.raises(OutputError, match=r"InferenceService, ApiException 403.*2 of 3 were applied"):
        cluster.apply(kserve.manifests(SERVICE), "a test")


def test_only_a_blessing_of_this_bundle_is_deployed_or_packaged(model, tmp_path, no_cluster):
    bundle = cm.ModelBundle(model[0])
    other = classifier(tmp_path / "other", seed=1)
    for decision in (decide(other, tmp_path / "a"), decide(model[0], tmp_path / "b", verdict="refused")):
        for component in (cm.deploy_kserve, cm.package_model):
            with pytest.raises(RefusedError):
                component(bundle, cm.Decision(decision))


def test_an_override_lands_in_the_lineage_and_reaches_the_server(model, tmp_path, no_cluster):
    refusal = cm.Decision(decide(model[0], tmp_path / "b", verdict="refused"))
    made = cm.deploy_kserve(
        cm.ModelBundle(model[0]), refusal, storage_uri="s3://models/x", override="ticket 7"
    ).deployment
    made.save(tmp_path / "made")
    record = lineage.read(tmp_path / "made")
    assert record.units[0].statements == {"blessing": "none", "blessing_override": "ticket 7"}
    assert record.settings["override"] == "ticket 7"
    runtime = made.load()["manifests"][1]
    assert runtime["spec"]["containers"][0]["args"][-2:] == ["--override", "ticket 7"]


def test_a_packaged_model_is_the_bundle_byte_for_byte(model, tmp_path):
    made = cm.package_model(cm.ModelBundle(model[0]), cm.Decision(model[1]))
    made.save(tmp_path / "servable")
    assert made.load()["component"] == "classify-images"
    for path in (tmp_path / "servable" / "bundle").rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (model[0] / path.relative_to(tmp_path / "servable" / "bundle")).read_bytes()
    assert "ENTRYPOINT" in (tmp_path / "servable" / "Containerfile").read_text()


def test_a_rollback_gives_the_earlier_model_all_of_the_traffic(no_cluster):
    earlier = deployed("a test", "a" * 64, kserve.manifests(replace(SERVICE, bundle_digest="a" * 64)), apply=False)
    current = deployed("a test", SERVICE.bundle_digest, kserve.manifests(SERVICE), apply=False)
    made = cm.rollback_model(cm.Report(current.report), cm.Report(earlier.report))
    service = made.deployment.load()["manifests"][-1]
    assert "canaryTrafficPercent" not in service["spec"]["predictor"]
    assert service["metadata"]["annotations"]["claimed-med/bundle-sha256"] == "a" * 64
    assert service["metadata"]["annotations"]["claimed-med/rolled-back-from"] == "b" * 64


def test_a_rollback_between_other_things_is_refused(no_cluster):
    current = deployed("a test", SERVICE.bundle_digest, kserve.manifests(SERVICE), apply=False).report
    elsewhere = deployed("a test", "a" * 64, kserve.manifests(replace(SERVICE, name="other")), apply=False).report
    for previous in (current, elsewhere, {"kind": "training"}):
        with pytest.raises(InputError, match="rollback-model"):
            cm.rollback_model(cm.Report(current), cm.Report(previous))


def test_a_name_is_as_long_as_what_kserve_and_knative_make_of_it_allows():
    longest = "x" * 48
    service, (_, runtime, served) = replace(SERVICE, name=longest), kserve.manifests(replace(SERVICE, name=longest))
    made = [f"isvc.{longest}-predictor", f"prev-{longest}-predictor", runtime["metadata"]["name"]]
    made += [*served["metadata"]["labels"].values(), served["spec"]["predictor"]["model"]["runtime"]]
    assert max(map(len, made)) == 63
    with pytest.raises(ContractError, match=r"name is not one that Kubernetes takes; got .*; 48 at most"):
        replace(service, name=longest + "x")
