"""KServe manifests of a model: ServingRuntime, InferenceService, NetworkPolicy, as plain values.

The server in the pod is `claimed-med serve` on the servable folder that the storage initializer fetches; it looks at
the blessing itself once more. Secrets are named, never held. Names follow serving.kserve.io v1beta1 and v1alpha1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from claimed_med.errors import ContractError

GROUP, FORMAT, VERSION = "serving.kserve.io", "claimed-med", "1"
HTTP_PORT, GRPC_PORT, USER = 8080, 8081, 1000
REST, GRPC = "rest", "grpc"
# KServe routes requests to one port, and knows what it speaks by its name: h2c is gRPC (HTTP/2 without TLS)
_PORTS = {REST: ("http1", HTTP_PORT, "v2"), GRPC: ("h2c", GRPC_PORT, "grpc-v2")}
MODELS, TOKENS, STATE = "/mnt/models", "/etc/claimed-med/tokens", "/var/lib/claimed-med"
KEPT = "/mnt/kept"
_WHERE = "deploy-kserve"
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,50}[a-z0-9])?")
_OBJECT = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|k|[MGTPE]|[KMGTPE]i)?")
_IMAGE = re.compile(r"[a-zA-Z0-9][-\w.:/]*(@sha256:[0-9a-f]{64})?", re.ASCII)
_SHORT_NAME = _NAME, "a letter, then letters, digits, - (52)"
# KServe labels pods `isvc.NAME-predictor`, and Knative names the route of the revision before `prev-NAME-predictor`: a
# label or name in DNS has 63 letters at most. The longest is also short enough for the runtime, NAME-<12 hex>.
LONGEST_NAME = 63 - len("isvc.-predictor")
_SERVICE_NAME = (
    re.compile(rf"[a-z]([-a-z0-9]{{0,{LONGEST_NAME - 2}}}[a-z0-9])?"),
    f"a small letter, then small letters, digits, -; {LONGEST_NAME} at most, as KServe makes labels of it",
)
_OBJECT_NAME = _OBJECT, "small letters, digits, -, . (253)"
_FORMS = {
    "name": _SERVICE_NAME,
    "namespace": _SHORT_NAME,
    "token_secret": _OBJECT_NAME,
    "account": _OBJECT_NAME,
    "project_secret": _OBJECT_NAME,
    "database_secret": _OBJECT_NAME,
    "cpu": (_QUANTITY, "a number, such as 2 or 500m"),
    "memory": (_QUANTITY, "bytes, such as 8Gi"),
    "image": (_IMAGE, "REGISTRY/NAME, best with @sha256:DIGEST"),
}
_OPTIONAL = frozenset({"account", "project_secret", "database_secret"})
_ARCHIVE = re.compile(r"https?://[^\s/@,]+(/\S*)?")
_CIDR = re.compile(r"(\d{1,3}\.){3}\d{1,3}/\d{1,2}:\d{1,5}")
_SCHEMES = ("s3://", "gs://", "https://", "pvc://", "hdfs://", "oci://")


@dataclass(frozen=True)
class Service:
    """What is deployed, and how.

    Attributes:
        name: Of the service.
        namespace: Of the cluster.
        image: With the extras torch and serve; best with a digest.
        storage_uri: Where the servable folder lies.
        bundle_digest: sha256 of the bundle.
        policy_digest: sha256 of the policy that blessed it, or ''.
        override: Why it is deployed without a blessing; ''.
        account: ServiceAccount with the credentials of the storage; '' for the default.
        token_secret: Secret with the key `tokens`: lines NAME:TOKEN.
        project_secret: Secret with the key CLAIMED_MED_SECRET; '' for none.
        database_secret: Secret with the key `url` of the record of predictions; '' for a volume of the pod.
        lineage_claim: PersistentVolumeClaim that keeps lineage records; '' keeps none.
        pictures_claim: PersistentVolumeClaim that keeps overviews and explanations of cases; '' keeps none.
        min_replicas: 0 scales to zero.
        max_replicas: Most pods.
        concurrency: Requests a pod at which another one is started.
        canary_percent: Share of the requests that this revision gets; 100 for all.
        n_gpus: GPUs a pod.
        cpu: Cores a pod.
        memory: Memory a pod.
        archives: Origins that requests may name.
        egress: `CIDR:PORT` that pods may reach, besides names (DNS).
        protocol: What comes from outside of the pod: `rest` (V1, v2, DICOM) or `grpc` (v2 tensors).
        ingress_namespaces: Namespaces from which requests come.

    Raises:
        ContractError: A name, address or number that Kubernetes does not take.
    """

    name: str
    namespace: str
    image: str
    storage_uri: str
    bundle_digest: str
    policy_digest: str = ""
    override: str = ""
    account: str = ""
    token_secret: str = "claimed-med-tokens"  # noqa: S105 - the name of a Secret
    project_secret: str = ""
    database_secret: str = ""
    lineage_claim: str = ""
    pictures_claim: str = ""
    min_replicas: int = 1
    max_replicas: int = 3
    concurrency: int = 8
    canary_percent: int = 100
    n_gpus: int = 0
    cpu: str = "2"
    memory: str = "8Gi"
    archives: Sequence[str] = ()
    egress: Sequence[str] = ()
    protocol: str = REST
    ingress_namespaces: Sequence[str] = ("istio-system", "knative-serving", "kserve")

    def __post_init__(self) -> None:
        """Check names, addresses and numbers."""
        for what, (form, allowed) in _FORMS.items():
            value = getattr(self, what)
            if not form.fullmatch(value) and (value or what not in _OPTIONAL):
                raise ContractError(
                    _WHERE, f"{what} is not one that Kubernetes takes", got=repr(value), allowed=allowed
                )
        for what, claim in self.claims.items():
            if not _NAME.fullmatch(claim):
                raise ContractError(_WHERE, f"{what}_claim is no name", got=repr(claim))
        if not self.storage_uri.startswith(_SCHEMES):
            raise ContractError(_WHERE, "storage_uri is no address", allowed=", ".join(_SCHEMES))
        if self.max_replicas < max(1, self.min_replicas):
            raise ContractError(_WHERE, "max_replicas is below min_replicas", got=self.max_replicas)
        if self.protocol not in _PORTS:
            raise ContractError(_WHERE, "protocol is unknown", got=self.protocol, allowed=", ".join(_PORTS))
        if not all(_ARCHIVE.fullmatch(one) for one in self.archives):
            raise ContractError(_WHERE, "an archive is no address", allowed="https://HOST[:PORT]/PATH")
        bad = [one for one in self.egress if not _CIDR.fullmatch(one)]
        if bad:
            raise ContractError(_WHERE, "egress cannot be read", got=bad[0], allowed="10.1.2.3/32:443")

    @property
    def claims(self) -> dict[str, str]:
        """What the server keeps on volumes of the cluster: `lineage`, `pictures` -> PersistentVolumeClaim."""
        told = {"lineage": self.lineage_claim, "pictures": self.pictures_claim}
        return {what: claim for what, claim in told.items() if claim}


def manifests(service: Service) -> list[dict[str, Any]]:
    """The three objects, in the order in which they are applied."""
    return [_network(service), _runtime(service), _service(service)]


def _meta(service: Service, name: str) -> dict[str, Any]:
    labels = {"app.kubernetes.io/managed-by": "claimed-med", "app.kubernetes.io/name": service.name}
    told = {
        "claimed-med/bundle-sha256": service.bundle_digest,
        "claimed-med/policy-sha256": service.policy_digest,
        "claimed-med/blessing-override": service.override,
    }
    annotations = {key: value for key, value in told.items() if value}
    return {"name": name, "namespace": service.namespace, "labels": labels, "annotations": annotations}


def _service(service: Service) -> dict[str, Any]:
    model = {
        "modelFormat": {"name": FORMAT, "version": VERSION},
        "runtime": _runtime_name(service),
        "protocolVersion": _PORTS[service.protocol][2],
        "storageUri": service.storage_uri,
        "resources": _resources(service),
    }
    predictor: dict[str, Any] = {
        "minReplicas": service.min_replicas,
        "maxReplicas": service.max_replicas,
        "scaleMetric": "concurrency",
        "scaleTarget": service.concurrency,
        "containerConcurrency": 0,
        "timeout": 600,
        "terminationGracePeriodSeconds": 120,
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "model": model,
    }
    if service.account:
        predictor["serviceAccountName"] = service.account
    if service.canary_percent < 100:
        predictor["canaryTrafficPercent"] = service.canary_percent
    return {
        "apiVersion": f"{GROUP}/v1beta1",
        "kind": "InferenceService",
        "metadata": _meta(service, service.name),
        "spec": {"predictor": predictor},
    }


def _runtime_name(service: Service) -> str:
    """One runtime a bundle: it pins the digest, and a canary must not change that of the revision beside it."""
    return f"{service.name}-{service.bundle_digest[:12]}"


def _runtime(service: Service) -> dict[str, Any]:
    annotations = {"prometheus.kserve.io/port": str(HTTP_PORT), "prometheus.kserve.io/path": "/metrics"}
    return {
        "apiVersion": f"{GROUP}/v1alpha1",
        "kind": "ServingRuntime",
        "metadata": _meta(service, _runtime_name(service)),
        "spec": {
            "annotations": annotations,
            "supportedModelFormats": [{"name": FORMAT, "version": VERSION, "autoSelect": False}],
            "protocolVersions": ["v1", "v2"] if service.protocol == REST else ["grpc-v2"],
            "multiModel": False,
            "containers": [_container(service)],
            "volumes": [
                {"name": "tokens", "secret": {"secretName": service.token_secret}},
                {"name": "state", "emptyDir": {"sizeLimit": "20Gi"}},
                {"name": "tmp", "emptyDir": {"sizeLimit": "4Gi"}},
                *(
                    {"name": what, "persistentVolumeClaim": {"claimName": claim}}
                    for what, claim in service.claims.items()
                ),
            ],
        },
    }


def _container(service: Service) -> dict[str, Any]:
    port_name, port, _ = _PORTS[service.protocol]
    return {
        "name": "kserve-container",
        "image": service.image,
        "command": ["claimed-med", "serve"],
        "args": arguments(service),
        "env": _environment(service),
        "ports": [{"name": port_name, "containerPort": port, "protocol": "TCP"}],
        "startupProbe": {**_probe("ready", port), "periodSeconds": 5, "failureThreshold": 120},
        "readinessProbe": {**_probe("ready", port), "periodSeconds": 5},
        "livenessProbe": {**_probe("live", port), "periodSeconds": 10, "failureThreshold": 6},
        "resources": _resources(service),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "privileged": False,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "tokens", "mountPath": TOKENS, "readOnly": True},
            {"name": "state", "mountPath": STATE},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a private volume of the pod
            *({"name": what, "mountPath": f"{KEPT}/{what}"} for what in service.claims),
        ],
    }


def arguments(service: Service) -> list[str]:
    """The words after `claimed-med serve`."""
    log = "$(CLAIMED_MED_DATABASE_URL)" if service.database_secret else f"{STATE}/predictions.sqlite"
    words = [MODELS, "--name", service.name, "--host", "0.0.0.0", "--behind-tls-proxy", "--open-metrics"]  # noqa: S104 - of the pod; others are kept out by the policy
    words += ["--http-port", str(HTTP_PORT), "--grpc-port", str(GRPC_PORT), "--token-file", f"{TOKENS}/tokens"]
    words += ["--log", log, "--work", f"{STATE}/work", "--expect", service.bundle_digest]
    for what in service.claims:
        words += [f"--{what}", f"{KEPT}/{what}"]
    for one in service.archives:
        words += ["--allow-origin", one]
    return [*words, *(["--override", service.override] if service.override else [])]


def _environment(service: Service) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = [{"name": "HOME", "value": STATE}]
    for name, secret, key in (
        ("CLAIMED_MED_SECRET", service.project_secret, "CLAIMED_MED_SECRET"),
        ("CLAIMED_MED_DATABASE_URL", service.database_secret, "url"),
    ):
        if secret:
            made.append({"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}})
    return made


def _probe(what: str, port: int) -> dict[str, Any]:
    """By the routed port, the only one that Knative asks; the gRPC port opens when the model is warm."""
    if port == HTTP_PORT:
        return {"httpGet": {"path": f"/v2/health/{what}", "port": port}, "timeoutSeconds": 5}
    return {"tcpSocket": {"port": port}, "timeoutSeconds": 5}


def _resources(service: Service) -> dict[str, Any]:
    limits = {"cpu": service.cpu, "memory": service.memory}
    if service.n_gpus:
        limits["nvidia.com/gpu"] = str(service.n_gpus)
    return {"requests": dict(limits), "limits": dict(limits)}


def _network(service: Service) -> dict[str, Any]:
    names = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": list(service.ingress_namespaces)}
    sources = [{"namespaceSelector": {"matchExpressions": [names]}}]
    ports = [{"port": one, "protocol": "TCP"} for one in (HTTP_PORT, GRPC_PORT, 8012, 8013, 8022, 9090, 9091)]
    dns = [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]
    egress: list[dict[str, Any]] = [{"ports": dns}]
    for one in service.egress:
        block, _, port = one.rpartition(":")
        egress.append({"to": [{"ipBlock": {"cidr": block}}], "ports": [{"port": int(port), "protocol": "TCP"}]})
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _meta(service, service.name),
        "spec": {
            "podSelector": {"matchLabels": {"serving.kserve.io/inferenceservice": service.name}},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": sources, "ports": ports}],
            "egress": egress,
        },
    }
