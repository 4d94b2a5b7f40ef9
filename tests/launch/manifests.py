"""Strict schemas of the manifests that we write: every field that we use, and none besides.

Written by hand from the custom resource definitions of JobSet v1alpha2 (kubernetes-sigs/jobset, August 2026),
TrainJob and TrainingRuntime v1alpha1 (kubeflow/trainer, August 2026), and core/v1 and batch/v1 of Kubernetes. The
API server refuses unknown fields only if asked to; a typo would be a job that recovers from nothing.
"""

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string", "minLength": 1}
COUNT: Schema = {"type": "integer", "minimum": 0}
YES: Schema = {"type": "boolean"}
NAME: Schema = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"}
QUANTITY: Schema = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(m|[kMGTPE]i?)?$"}


def one_of(*values: str) -> Schema:
    """A choice."""
    return {"type": "string", "enum": list(values)}


def many(items: Schema) -> Schema:
    """A list."""
    return {"type": "array", "items": items}


def strict(required: dict[str, Schema], optional: dict[str, Schema] | None = None) -> Schema:
    """An object with these fields only."""
    properties = {**required, **(optional or {})}
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


EXIT_CODES = strict(
    {"containerName": NAME, "operator": one_of("In", "NotIn"), "values": many({"type": "integer", "not": {"const": 0}})}
)
CONDITION = strict({"type": TEXT}, {"status": one_of("True", "False", "Unknown")})
POD_FAILURE_RULE: Schema = {
    **strict(
        {"action": one_of("FailJob", "FailIndex", "Ignore", "Count")},
        {"onExitCodes": EXIT_CODES, "onPodConditions": many(CONDITION)},
    ),
    "oneOf": [{"required": ["onExitCodes"]}, {"required": ["onPodConditions"]}],
}
EXPRESSION = strict({"key": TEXT, "operator": one_of("In", "NotIn", "Exists", "DoesNotExist")}, {"values": many(TEXT)})
TERMS = strict({"nodeSelectorTerms": many(strict({"matchExpressions": many(EXPRESSION)}))})
FIELD = strict({"fieldRef": strict({"fieldPath": one_of("status.podIP", "spec.nodeName")})})
ENVIRONMENT: Schema = {
    **strict({"name": TEXT}, {"value": {"type": "string"}, "valueFrom": FIELD}),
    "oneOf": [{"required": ["value"]}, {"required": ["valueFrom"]}],
}
CONTAINER = strict(
    {"name": NAME, "image": TEXT, "command": many(TEXT)},
    {
        "workingDir": TEXT,
        "env": many(ENVIRONMENT),
        "resources": strict({}, {"limits": {"type": "object", "additionalProperties": QUANTITY}}),
        "volumeMounts": many(strict({"name": NAME, "mountPath": TEXT})),
    },
)
LABELLED = {"type": "object", "additionalProperties": TEXT}
APART = strict({"labelSelector": strict({"matchLabels": LABELLED}), "topologyKey": TEXT})
VOLUME = strict(
    {"name": NAME},
    {
        "persistentVolumeClaim": strict({"claimName": NAME}),
        "emptyDir": strict({"medium": one_of("Memory"), "sizeLimit": QUANTITY}),
    },
)
POD = strict(
    {"restartPolicy": one_of("Never"), "containers": many(CONTAINER)},
    {
        "terminationGracePeriodSeconds": COUNT,
        "volumes": many(VOLUME),
        "affinity": strict(
            {},
            {
                "nodeAffinity": strict({"requiredDuringSchedulingIgnoredDuringExecution": TERMS}),
                "podAntiAffinity": strict({"requiredDuringSchedulingIgnoredDuringExecution": many(APART)}),
            },
        ),
    },
)
JOB = strict(
    {
        "completionMode": one_of("Indexed"),
        "parallelism": COUNT,
        "completions": COUNT,
        "backoffLimit": COUNT,
        "podFailurePolicy": strict({"rules": many(POD_FAILURE_RULE)}),
        "template": strict({"spec": POD}),
    }
)
FAILURE_RULE = strict(
    {
        "name": TEXT,
        "action": one_of(
            *("FailJobSet", "RestartJobSet", "RestartJobSetAndIgnoreMaxRestarts"),
            *("RestartJob", "RestartJobAndIgnoreMaxRestarts"),
        ),
    },
    {
        "onJobFailureReasons": many(
            one_of(
                *("BackoffLimitExceeded", "DeadlineExceeded", "FailedIndexes"),
                *("MaxFailedIndexesExceeded", "PodFailurePolicy"),
            )
        ),
        "targetReplicatedJobs": many(NAME),
    },
)
LABELS = strict({"labels": {"type": "object", "additionalProperties": {"type": "string"}}})
REPLICATED = strict({"name": NAME, "replicas": COUNT, "template": strict({"spec": JOB}, {"metadata": LABELS})})
JOBSET_SPEC = strict(
    {"failurePolicy": strict({"maxRestarts": COUNT, "rules": many(FAILURE_RULE)}), "replicatedJobs": many(REPLICATED)},
    {
        "network": strict({"enableDNSHostnames": YES, "publishNotReadyAddresses": YES}),
        "successPolicy": strict({"operator": one_of("All", "Any"), "targetReplicatedJobs": many(NAME)}),
    },
)
METADATA = strict({"name": NAME, "namespace": NAME})


def manifest(version: str, kind: str, spec: Schema) -> Schema:
    """A whole manifest."""
    return strict({"apiVersion": {"const": version}, "kind": {"const": kind}, "metadata": METADATA, "spec": spec})


KUBEFLOW = "trainer.kubeflow.org"
RUNTIME_SPEC = strict(
    {
        "mlPolicy": strict({"numNodes": COUNT}),
        "template": strict({"spec": JOBSET_SPEC}),
    }
)
TRAINJOB_SPEC = strict(
    {
        "runtimeRef": strict(
            {"name": NAME},
            {"apiGroup": {"const": KUBEFLOW}, "kind": one_of("TrainingRuntime", "ClusterTrainingRuntime")},
        ),
        "trainer": strict({"numNodes": COUNT}),
    }
)
SCHEMAS: dict[str, Schema] = {
    "JobSet": manifest("jobset.x-k8s.io/v1alpha2", "JobSet", JOBSET_SPEC),
    "TrainingRuntime": manifest(f"{KUBEFLOW}/v1alpha1", "TrainingRuntime", RUNTIME_SPEC),
    "TrainJob": manifest(f"{KUBEFLOW}/v1alpha1", "TrainJob", TRAINJOB_SPEC),
}
# From SkyPilot's own YAML reference (2026).
SKYPILOT = strict(
    {
        "name": TEXT,
        "workdir": TEXT,
        "num_nodes": {"type": "integer", "minimum": 1},
        "resources": strict(
            {
                "job_recovery": strict(
                    {
                        "max_restarts_on_errors": COUNT,
                        "recover_on_exit_codes": many({"type": "integer", "maximum": 255}),
                    }
                )
            },
            {"infra": TEXT, "accelerators": TEXT, "image_id": TEXT, "use_spot": YES},
        ),
        "volumes": {"type": "object", "additionalProperties": TEXT},
        "run": TEXT,
    },
    {"envs": {"type": "object", "additionalProperties": {"type": "string"}}, "setup": TEXT},
)
