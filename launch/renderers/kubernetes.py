"""Manifests for Kubernetes: a JobSet, or Kubeflow's TrainJob with a TrainingRuntime of its own. One pod a node.

Several nodes are kept (docs/recovery.md): the coordinator is a pod of a job of its own, without GPUs, its journal on
the shared volume; the other job has a keeper's pod for every node and spare, which finds the coordinator there.
A single node has `launch node`, which ends as its ranks did and counts attempts without progress.

What recovers:
    keepers             what can be put right by the pods that are there, spares first
    podFailurePolicy    64, 65 and 66 fail the job at once: they would fail again anywhere; a pod that the cluster
                        itself has taken away (DisruptionTarget) counts for nothing
    backoffLimit        kept: a pod that has ended is started again alone, the others go on meanwhile
    failurePolicy       the first rule ends the JobSet for those codes; anything else starts all pods again

Field names: JobSet v1alpha2, TrainJob v1alpha1 (kubernetes-sigs/jobset and kubeflow/trainer as of August 2026).
"""

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from core.errors import ConfigError
from launch.renderers.job import FATAL_CODES, Job

Manifest = dict[str, Any]

# The replicated jobs, and each one's container; Kubeflow looks for a container of the first name.
NODE, COORDINATOR = "node", "coordinator"
# What a pod is told of itself: variable and field of the downward API.
ADDRESS, MACHINE = ("POD_IP", "status.podIP"), ("NODE_NAME", "spec.nodeName")
LABEL = "jobset.sigs.k8s.io"
HOSTNAME = "kubernetes.io/hostname"


def jobset(job: Job) -> str:
    """A JobSet."""
    network = {"enableDNSHostnames": True, "publishNotReadyAddresses": True}
    manifest = {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": _metadata(job),
        "spec": {"network": network, **_jobset_spec(job)},
    }
    return _yaml(manifest)


def trainjob(job: Job) -> str:
    """A TrainingRuntime that holds how to recover, which a TrainJob cannot say, and the TrainJob that uses it."""
    spec = _jobset_spec(job)
    # Kubeflow sees to the network, and gives the job with this label the TrainJob's number of pods.
    spec["replicatedJobs"][0]["template"]["metadata"] = {
        "labels": {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}
    }
    runtime = {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainingRuntime",
        "metadata": _metadata(job),
        "spec": {"mlPolicy": {"numNodes": job.all_nodes}, "template": {"spec": spec}},
    }
    manifest = {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": _metadata(job),
        "spec": {
            "runtimeRef": {"apiGroup": "trainer.kubeflow.org", "kind": "TrainingRuntime", "name": _name(job)},
            "trainer": {"numNodes": job.all_nodes},
        },
    }
    return _yaml(runtime) + "---\n" + _yaml(manifest)


def _jobset_spec(job: Job) -> Manifest:
    rule = {"name": "would-fail-again", "action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"]}
    jobs = {NODE: _job_spec(job, _keeper_pod(job), pods=job.all_nodes)}
    if job.is_kept:
        jobs[COORDINATOR] = _job_spec(job, _coordinator_pod(job), pods=1)
    return {
        # The last: where there is a coordinator, its end is the run's, and JobSet ends the other pods.
        "successPolicy": {"operator": "All", "targetReplicatedJobs": list(jobs)[-1:]},
        "failurePolicy": {"maxRestarts": job.config.cluster.kubernetes.max_restarts, "rules": [rule]},
        "replicatedJobs": [{"name": name, "replicas": 1, "template": {"spec": spec}} for name, spec in jobs.items()],
    }


def _job_spec(job: Job, pod: Manifest, *, pods: int) -> Manifest:
    codes = {"containerName": pod["containers"][0]["name"], "operator": "In", "values": list(FATAL_CODES)}
    disrupted = {"type": "DisruptionTarget", "status": "True"}
    return {
        "completionMode": "Indexed",
        "parallelism": pods,
        "completions": pods,
        "backoffLimit": job.config.cluster.kubernetes.max_restarts if job.is_kept else 0,
        "podFailurePolicy": {
            "rules": [
                {"action": "FailJob", "onExitCodes": codes},
                {"action": "Ignore", "onPodConditions": [disrupted]},
            ]
        },
        "template": {"spec": pod},
    }


def _keeper_pod(job: Job) -> Manifest:
    pod = job.config.cluster.kubernetes
    asked = {"cpu": pod.cpus, "memory": pod.memory, "nvidia.com/gpu": str(pod.gpus or "")}
    resources = {"limits": {name: value for name, value in asked.items() if value}}
    # A node is called what Kubernetes calls the machine, so that a quarantine is the machine's.
    told = [f"--node=$({MACHINE[0]})", f"--host=$({ADDRESS[0]})"] if job.is_kept else []
    facts = (ADDRESS, MACHINE) if job.is_kept else ()
    verb = "join" if job.is_kept else "node"
    spec = _pod_spec(job, NODE, verb=verb, told=told, facts=facts, resources=resources)
    (container,) = spec["containers"]
    container["volumeMounts"].append({"name": "shm", "mountPath": "/dev/shm"})
    spec["volumes"].append({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": pod.shm}})
    if job.is_kept:
        labels = {f"{LABEL}/jobset-name": _name(job), f"{LABEL}/replicatedjob-name": NODE}
        term = {"labelSelector": {"matchLabels": labels}, "topologyKey": HOSTNAME}
        spec["affinity"] = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    if job.excluded:
        where = {"key": HOSTNAME, "operator": "NotIn", "values": list(job.excluded)}
        terms = {"nodeSelectorTerms": [{"matchExpressions": [where]}]}
        spec.setdefault("affinity", {})["nodeAffinity"] = {"requiredDuringSchedulingIgnoredDuringExecution": terms}
    return spec


def _coordinator_pod(job: Job) -> Manifest:
    told = ["--attempt", f"launch.address=$({ADDRESS[0]}):{job.config.cluster.port}"]
    return _pod_spec(job, COORDINATOR, verb="supervise", told=told, facts=(ADDRESS,), resources={})


def _pod_spec(
    job: Job,
    name: str,
    *,
    verb: str,
    told: Sequence[str],
    facts: Sequence[tuple[str, str]],
    resources: Manifest,
) -> Manifest:
    cluster, pod = job.config.cluster, job.config.cluster.kubernetes
    if not pod.image:
        raise ConfigError("launch.cluster.kubernetes.image is empty; name an image that holds the checkout")
    if not pod.claim:
        raise ConfigError("launch.cluster.kubernetes.claim is empty; name a volume claim that all pods may write")
    if not PurePosixPath(job.out).is_relative_to(pod.mount):
        raise ConfigError(f"run.out is {job.out}, which pods do not share; put it below {pod.mount} (the claim)")
    # Kubernetes reads $(NAME) in a command, and $$ as a dollar.
    plain = [word.replace("$", "$$") for word in (cluster.python, "-m", "launch", verb, *job.arguments)]
    fields = [{"name": name, "valueFrom": {"fieldRef": {"fieldPath": field}}} for name, field in facts]
    container: Manifest = {
        "name": name,
        "image": pod.image,
        "workingDir": cluster.workdir,
        "command": [*plain, *told],
        "env": [*fields, *({"name": name, "value": value} for name, value in job.environment.items())],
        "resources": resources,
        "volumeMounts": [{"name": "shared", "mountPath": pod.mount}],
    }
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": pod.grace_s,
        "containers": [container],
        "volumes": [{"name": "shared", "persistentVolumeClaim": {"claimName": pod.claim}}],
    }


def _metadata(job: Job) -> Manifest:
    return {"name": _name(job), "namespace": job.config.cluster.kubernetes.namespace}


def _name(job: Job) -> str:
    return job.name.lower().replace("_", "-").replace(".", "-")


def _yaml(manifest: Manifest) -> str:
    import yaml

    text: str = yaml.safe_dump(manifest, sort_keys=False, allow_unicode=True, width=120)
    return text
