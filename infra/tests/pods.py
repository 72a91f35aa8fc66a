"""What Knative and KServe make of their resources, as Deployments: `pods.py MANIFEST...` prints them.

Those who look for what is insecure know Kubernetes' own kinds. They get the pods of the others in one that they know.
"""

import sys

import yaml

# What Knative's template has beside a pod's fields.
OF_KNATIVE = ("containerConcurrency", "timeoutSeconds", "responseStartTimeoutSeconds")


def pods(resources):
    """The name, namespace and pod of each resource that has one."""
    runtimes = {}
    for resource in resources:
        spec, metadata = resource["spec"], resource["metadata"]
        if resource["kind"] == "Service":
            pod = spec["template"]["spec"]
            yield metadata, {name: value for name, value in pod.items() if name not in OF_KNATIVE}
        elif resource["kind"] == "ServingRuntime":
            runtimes[metadata["name"]] = spec["containers"]
        elif resource["kind"] == "InferenceService":
            predictor = spec["predictor"]
            pod = {"containers": runtimes[predictor["model"]["runtime"]]}
            for name in ("serviceAccountName", "automountServiceAccountToken", "securityContext"):
                if name in predictor:
                    pod[name] = predictor[name]
            yield metadata, pod


def deployment(metadata, pod):
    labels = {"app.kubernetes.io/name": metadata["name"]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {**metadata, "labels": labels},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


resources = [each for path in sys.argv[1:] for each in yaml.safe_load_all(open(path))]
deployments = [deployment(metadata, pod) for metadata, pod in pods(resources)]


class Plain(yaml.SafeDumper):
    """YAML without anchors."""

    def ignore_aliases(self, data):
        return True


yaml.dump_all(deployments, sys.stdout, Plain)
