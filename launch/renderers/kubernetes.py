"""Manifests for Kubernetes: a JobSet, or Kubeflow's TrainJob with a TrainingRuntime of its own. One pod a node.

What recovers:
    podFailurePolicy    64, 65 and 66 fail the job at once: they would fail again anywhere; a pod that the cluster
                        itself has taken away (DisruptionTarget) counts for nothing
    failurePolicy       the first rule ends the JobSet for those codes; anything else starts all pods again
    `launch node`       the pod's process: it ends as its ranks did, which torchrun hides, and counts attempts without
                        progress, which JobSet cannot

Field names: JobSet v1alpha2, TrainJob v1alpha1 (kubernetes-sigs/jobset and kubeflow/trainer as of August 2026).
"""

from pathlib import PurePosixPath
from typing import Any

from core.errors import ConfigError
from launch.renderers.job import FATAL_CODES, Job

Manifest = dict[str, Any]

# The names of the replicated job and of its container; Kubeflow's torch policy looks for both.
NODE = "node"


def jobset(job: Job) -> str:
    """A JobSet."""
    manifest = {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": _metadata(job),
        "spec": _jobset_spec(job, meet=f"{_name(job)}-{NODE}-0-0.{_name(job)}"),
    }
    return _yaml(manifest)


def trainjob(job: Job) -> str:
    """A TrainingRuntime that holds how to recover, which a TrainJob cannot say, and the TrainJob that uses it."""
    config = job.config
    spec = _jobset_spec(job, meet="")
    # Kubeflow gives every pod its number and where to meet, as PET_*, and its own network and number of pods.
    del spec["network"], spec["successPolicy"]
    (replicated,) = spec["replicatedJobs"]
    replicated["template"]["metadata"] = {"labels": {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}}
    runtime = {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainingRuntime",
        "metadata": _metadata(job),
        "spec": {"mlPolicy": {"numNodes": config.nodes, "torch": {}}, "template": {"spec": spec}},
    }
    manifest = {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": _metadata(job),
        "spec": {
            "runtimeRef": {"apiGroup": "trainer.kubeflow.org", "kind": "TrainingRuntime", "name": _name(job)},
            "trainer": {"numNodes": config.nodes, "numProcPerNode": config.ranks_per_node},
        },
    }
    return _yaml(runtime) + "---\n" + _yaml(manifest)


def _jobset_spec(job: Job, *, meet: str) -> Manifest:
    pod = job.config.cluster.kubernetes
    rule = {"name": "would-fail-again", "action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"]}
    return {
        "network": {"enableDNSHostnames": True, "publishNotReadyAddresses": True},
        "successPolicy": {"operator": "All", "targetReplicatedJobs": [NODE]},
        "failurePolicy": {"maxRestarts": pod.max_restarts, "rules": [rule]},
        "replicatedJobs": [{"name": NODE, "replicas": 1, "template": {"spec": _job_spec(job, meet=meet)}}],
    }


def _job_spec(job: Job, *, meet: str) -> Manifest:
    codes = {"containerName": NODE, "operator": "In", "values": list(FATAL_CODES)}
    disrupted = {"type": "DisruptionTarget", "status": "True"}
    return {
        "completionMode": "Indexed",
        "parallelism": job.config.nodes,
        "completions": job.config.nodes,
        "backoffLimit": 0,
        "podFailurePolicy": {
            "rules": [
                {"action": "FailJob", "onExitCodes": codes},
                {"action": "Ignore", "onPodConditions": [disrupted]},
            ]
        },
        "template": {"spec": _pod_spec(job, meet=meet)},
    }


def _pod_spec(job: Job, *, meet: str) -> Manifest:
    cluster, pod = job.config.cluster, job.config.cluster.kubernetes
    if not pod.image:
        raise ConfigError("launch.cluster.kubernetes.image is empty; name an image that holds the checkout")
    if not pod.claim:
        raise ConfigError("launch.cluster.kubernetes.claim is empty; name a volume claim that all pods may write")
    if not PurePosixPath(job.out).is_relative_to(pod.mount):
        raise ConfigError(f"run.out is {job.out}, which pods do not share; put it below {pod.mount} (the claim)")
    command = [cluster.python, "-m", "launch", "node", *job.arguments]
    asked = {"cpu": pod.cpus, "memory": pod.memory, "nvidia.com/gpu": str(pod.gpus or "")}
    container: Manifest = {
        "name": NODE,
        "image": pod.image,
        "workingDir": cluster.workdir,
        "command": [*command, f"--meet={meet}:{cluster.port}"] if meet else command,
        "env": [{"name": name, "value": value} for name, value in job.environment.items()],
        "resources": {"limits": {name: value for name, value in asked.items() if value}},
        "volumeMounts": [{"name": "shared", "mountPath": pod.mount}, {"name": "shm", "mountPath": "/dev/shm"}],
    }
    spec: Manifest = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": pod.grace_s,
        "containers": [container],
        "volumes": [
            {"name": "shared", "persistentVolumeClaim": {"claimName": pod.claim}},
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": pod.shm}},
        ],
    }
    if job.excluded:
        where = {"key": "kubernetes.io/hostname", "operator": "NotIn", "values": list(job.excluded)}
        terms = {"nodeSelectorTerms": [{"matchExpressions": [where]}]}
        spec["affinity"] = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}
    return spec


def _metadata(job: Job) -> Manifest:
    return {"name": _name(job), "namespace": job.config.cluster.kubernetes.namespace}


def _name(job: Job) -> str:
    return job.name.lower().replace("_", "-").replace(".", "-")


def _yaml(manifest: Manifest) -> str:
    import yaml

    text: str = yaml.safe_dump(manifest, sort_keys=False, allow_unicode=True, width=120)
    return text
