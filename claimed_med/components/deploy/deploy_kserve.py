"""Deploy a blessed model on KServe."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from claimed_med.component import Address, Interval, Unit, component
from claimed_med.handles import Decision, ModelBundle, Report


class DeployKserveOutputs(NamedTuple):
    """What deploy_kserve returns."""

    deployment: Report
    state: str


@component(
    version="1.0.0",
    image="serve",
    tags=("kserve", "kubernetes", "serving", "blessing"),
    example={
        "bundle": "train-classifier:bundle",
        "decision": "blessed_decision",
        "storage_uri": "s3://models/xray",
        "apply": False,
    },
)
def deploy_kserve(
    bundle: ModelBundle,
    decision: Decision,
    *,
    storage_uri: Annotated[str, Address()] = "",
    name: str = "claimed-med",
    namespace: str = "default",
    container_image: str = "claimed-med/serve",
    account: str = "",
    token_secret: str = "claimed-med-tokens",  # noqa: S107 - the name of a Secret
    project_secret: str = "",
    database_secret: str = "",
    lineage_claim: str = "",
    pictures_claim: str = "",
    min_replicas: Annotated[int, Interval(0, 1000)] = 1,
    max_replicas: Annotated[int, Interval(1, 1000)] = 3,
    concurrency: Annotated[int, Interval(1, 1000)] = 8,
    canary_percent: Annotated[int, Unit("%"), Interval(0, 100)] = 100,
    n_gpus: Annotated[int, Interval(0, 16)] = 0,
    cpu: str = "2",
    memory: str = "8Gi",
    archives: Annotated[str, Address()] = "",
    egress: Annotated[str, Address()] = "",
    protocol: Literal["rest", "grpc"] = "rest",
    apply: bool = True,
    override: str = "",
) -> DeployKserveOutputs:
    """Deploy a blessed model on KServe.

    Renders NetworkPolicy, ServingRuntime and InferenceService (v1beta1), and applies them on the side of the server
    where a cluster is configured (KUBECONFIG, or inside of a pod); elsewhere they are written only, and `state` says
    so. Secrets are named, never held.

    Args:
        bundle: The model, to know what is blessed.
        decision: From bless-model, on exactly this bundle.
        storage_uri: Where the folder of package-model was put (s3://, gs://, https://, pvc://, oci://).
        name: Of the service; 48 letters at most, as KServe makes labels of it.
        namespace: Of the cluster.
        container_image: With the extras torch and serve; best by digest.
        account: ServiceAccount with the credentials of the storage; empty for the default.
        token_secret: Secret whose key `tokens` holds lines NAME:TOKEN.
        project_secret: Secret with CLAIMED_MED_SECRET, by which signatures are checked; empty for none.
        database_secret: Secret whose key `url` names the PostgreSQL of the record; empty for a volume of the pod.
        lineage_claim: PersistentVolumeClaim, writable by many pods, for the lineage records of DICOM answers; empty for
            none.
        pictures_claim: PersistentVolumeClaim for overviews and explanations, pixels of patients; empty for none.
        min_replicas: 0 scales to zero.
        max_replicas: Most pods.
        concurrency: Requests a pod at which another one is started.
        canary_percent: Share of the requests that go to this revision, the rest to the one before; 100 for all.
        n_gpus: GPUs a pod.
        cpu: Cores a pod.
        memory: Memory a pod.
        archives: Addresses of archives that requests may name, separated by commas.
        egress: What pods may reach, `CIDR:PORT` separated by commas: storage, archives, database.
        protocol: What KServe routes to the pods, on one port: `rest` (V1, v2 and DICOM) or `grpc` (v2 tensors).
        apply: Whether to apply them where a cluster is configured.
        override: Why to deploy it without a blessing, in one line; recorded in the lineage and handed to the server.
            Empty for not at all.

    Returns:
        deployment: The manifests (`manifests.yaml`), digest of the bundle, blessing, and what was done.
        state: `applied` or `written`.

    Raises:
        ContractError: A name, address or number that Kubernetes does not take.
        RefusedError: The decision is a refusal, or blesses another payload.
        OutputError: The cluster refuses a manifest.

    Source:
        KServe, serving.kserve.io/v1beta1.
    """
    from claimed_med.component import digest_of_input
    from claimed_med.models import kserve
    from claimed_med.models.deployment import deployed, listed

    blessed = decision.load()
    service = kserve.Service(
        name=name,
        namespace=namespace,
        image=container_image,
        storage_uri=storage_uri,
        bundle_digest=digest_of_input("bundle") or bundle.load().digest,
        policy_digest="" if override else str(blessed.get("policy_sha256", "")),
        override=override,
        account=account,
        token_secret=token_secret,
        project_secret=project_secret,
        database_secret=database_secret,
        lineage_claim=lineage_claim,
        pictures_claim=pictures_claim,
        min_replicas=min_replicas,
        max_replicas=max_replicas,
        concurrency=concurrency,
        canary_percent=canary_percent,
        n_gpus=n_gpus,
        cpu=cpu,
        memory=memory,
        archives=listed(archives),
        egress=listed(egress),
        protocol=protocol,
    )
    made = deployed("deploy-kserve", service.bundle_digest, kserve.manifests(service), override=override, apply=apply)
    return DeployKserveOutputs(Report(made.report, html=made.page, pictures=made.files), made.state)
