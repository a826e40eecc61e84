"""A blessed model into the cluster: packaged for serving, and deployed on KServe.

A decision that is no blessing of exactly this model stops the pipeline at its first step. Secrets are named only. The
storage that `storage_uri` names gets the folder that `package-model` made; the server looks at the blessing again.
"""

from collections.abc import Callable
from pathlib import Path

from kfp import components, dsl

HOME = Path(__file__).parent.parent / "components"


def component(category: str, name: str) -> Callable[..., dsl.PipelineTask]:
    """A component by its generated contract."""
    return components.load_component_from_file(str(HOME / category / name / "component.yaml"))


load_model = component("input", "load-model")
package_model = component("deploy", "package-model")
deploy_kserve = component("deploy", "deploy-kserve")


@dsl.pipeline(description="A model and the decision on it in; a servable folder and a KServe deployment out.")
def deploy_blessed_model(
    path: str,
    decision_path: str,
    storage_uri: str,
    name: str = "claimed-med",
    namespace: str = "default",
    container_image: str = "claimed-med/serve",
    token_secret: str = "claimed-med-tokens",  # noqa: S107 - the name of a Secret
    project_secret: str = "",
    database_secret: str = "",
    canary_percent: int = 100,
    min_replicas: int = 1,
    n_gpus: int = 0,
    archives: str = "",
    egress: str = "",
    protocol: str = "rest",
) -> None:
    """Deploy a blessed model.

    Args:
        path: Folder of a model bundle.
        decision_path: Folder of the decision on it, from bless-model.
        storage_uri: Where the cluster finds the servable folder.
        name: Of the service.
        namespace: Of the cluster.
        container_image: With the extras torch and serve.
        token_secret: Secret whose key `tokens` holds lines NAME:TOKEN.
        project_secret: Secret with CLAIMED_MED_SECRET. Without it every pod hashes identifiers in its own way:
            truth never finds its prediction.
        database_secret: Secret whose key `url` names the PostgreSQL of the record; without it a volume of the pod.
        canary_percent: Share of the requests that go to this model; 100 for all.
        min_replicas: 0 scales to zero.
        n_gpus: GPUs a pod.
        archives: Addresses of archives that requests may name, separated by commas.
        egress: What pods may reach, `CIDR:PORT` separated by commas.
        protocol: What KServe routes to the pods: rest (V1, v2, DICOM) or grpc (v2 tensors).
    """
    loaded = load_model(path=path, decision_path=decision_path).set_caching_options(False)
    model = {"bundle": loaded.outputs["bundle"], "decision": loaded.outputs["decision"]}
    packaged = package_model(**model)
    deploy_kserve(
        **model,
        storage_uri=storage_uri,
        name=name,
        namespace=namespace,
        container_image=container_image,
        token_secret=token_secret,
        project_secret=project_secret,
        database_secret=database_secret,
        canary_percent=canary_percent,
        min_replicas=min_replicas,
        n_gpus=n_gpus,
        archives=archives,
        egress=egress,
        protocol=protocol,
    ).set_caching_options(False).after(packaged)
