"""A cluster that lies outside this machine, played: Kubernetes' API as far as `make deploy` and `make rollback` use it, for the real kubectl, with
the controllers behind it (Jobs, Deployments, Argo Rollouts) as far as those wait for them.

What becomes of an image is said beforehand, in `plans`; what happened is in `calls`, `weights` and the objects.
"""

import collections
import hashlib
import http.server
import json
import re
import threading
import time
import urllib.parse

# What kubectl and the scripts ask for, whatever the manifests have; `serve` adds theirs.
KINDS = {
    "v1": {"pods": "Pod", "namespaces": "Namespace"},
    "apps/v1": {"deployments": "Deployment", "replicasets": "ReplicaSet"},
    "batch/v1": {"jobs": "Job"},
    "argoproj.io/v1alpha1": {"rollouts": "Rollout", "analysisruns": "AnalysisRun"},
}
NOT_NAMESPACED = {"Namespace", "PriorityClass"}
HASH = "rollouts-pod-template-hash"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def merge(target, patch):
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict) and isinstance(target.get(key), dict):
            merge(target[key], value)
        else:
            target[key] = value


def json_patch(target, operations):
    for operation in operations:
        *way, last = [part.replace("~1", "/") for part in operation["path"].strip("/").split("/")]
        place = target
        for part in way:
            place = place[part]
        if operation["op"] == "remove":
            del place[last]
        else:
            place[last] = operation["value"]


def pods_hash(template):
    template = json.loads(json.dumps(template))
    template["metadata"]["labels"].pop(HASH, None)
    return hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:10]


class Cluster:
    def __init__(self):
        self.reset()

    def reset(self):
        self.objects = {}
        self.calls = []
        self.weights = []
        # Image -> good, bad, stuck, slow, paused or quiet; migrations: Complete, Failed or nothing.
        self.plans = collections.defaultdict(lambda: "good")
        self.migration = "Complete"
        # How many looks at the Rollout go by before its controller has seen a change; None: it does not run.
        self.lag = 1
        self.unseen = 0
        self.slow_looks = 8
        # "METHOD part-of-the-path" of requests that fail.
        self.broken = set()

    def get(self, plural, name="mapleai-app"):
        return self.objects.get((plural, name))

    def image(self):
        deployment = self.get("deployments")
        return deployment and deployment["spec"]["template"]["spec"]["containers"][0]["image"]

    def create(self, plural, item):
        item["metadata"].update(generation=1, uid=f"uid-{plural}-{item['metadata']['name']}", creationTimestamp="2026-01-01T00:00:00Z")
        item.setdefault("status", {})
        self.objects[plural, item["metadata"]["name"]] = item
        self.changed(plural, item)
        return item

    def patch(self, plural, name, kind, patch):
        item = self.objects[plural, name]
        spec = json.dumps(item.get("spec"))
        annotations = {} if isinstance(patch, list) else patch.get("metadata", {}).get("annotations") or {}
        if isinstance(patch, list):
            json_patch(item, patch)
        elif kind == "strategic" and LAST_APPLIED in annotations:
            # An apply, in short: what was written is what is wanted, and what others have set stays.
            item["spec"] = {**item["spec"], **json.loads(annotations[LAST_APPLIED])["spec"]}
            merge(item["metadata"], patch["metadata"])
        else:
            merge(item, patch)
        if json.dumps(item.get("spec")) != spec:
            item["metadata"]["generation"] += 1
            self.changed(plural, item)
        return item

    def changed(self, plural, item):
        if plural == "deployments":
            self.deployment_controller(item)
            self.unseen = 0

    def looked_at(self, plural, item):
        """What controllers do meanwhile, done when somebody looks: so a test takes no longer than its looks."""
        if plural == "rollouts":
            self.rollout_controller(item)
        if plural == "jobs" and self.migration:
            item["status"] = {"conditions": [{"type": self.migration, "status": "True"}]}

    def deployment_controller(self, item):
        template, generation = item["spec"]["template"], item["metadata"]["generation"]
        mine = [one for (plural, _), one in self.objects.items() if plural == "replicasets" and "deployment" in one["metadata"]["name"]]
        name = f"deployment-{pods_hash(template)}"
        revisions = [int(one["metadata"]["annotations"]["deployment.kubernetes.io/revision"]) for one in mine]
        owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "mapleai-app", "uid": item["metadata"]["uid"], "controller": True}
        labels = {**template["metadata"]["labels"], "pod-template-hash": pods_hash(template)}
        revision = str(max(revisions, default=0) + 1)
        annotations = {"deployment.kubernetes.io/revision": revision}
        metadata = {"name": name, "labels": labels, "ownerReferences": [owner], "annotations": annotations}
        self.create_replica_set(metadata, template, labels)
        item["metadata"].setdefault("annotations", {})["deployment.kubernetes.io/revision"] = revision
        good = self.plans[template["spec"]["containers"][0]["image"]] == "good"
        replicas = item["spec"].setdefault("replicas", 3)
        condition = {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}
        if not good:
            condition = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
        counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), replicas)
        item["status"] = {**counts, "observedGeneration": generation, "conditions": [condition]}

    def create_replica_set(self, metadata, template, labels):
        pods = json.loads(json.dumps(template))
        pods["metadata"]["labels"] = labels
        spec = {"replicas": 0, "template": pods}
        self.create("replicasets", {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": metadata, "spec": spec})

    def rollout_controller(self, item):
        status, deployment = item["status"], self.get("deployments")
        if deployment is None or self.lag is None:
            return
        generation = str(deployment["metadata"]["generation"])
        status["observedGeneration"] = str(item["metadata"]["generation"])
        if status.get("workloadObservedGeneration") != generation:
            self.unseen += 1
            if self.unseen > self.lag:
                status["workloadObservedGeneration"] = generation
                self.begin(status, deployment["spec"]["template"])
            return
        if status["phase"] == "Healthy":
            return
        self.go_on(status)

    def begin(self, status, template):
        version = pods_hash(template)
        if ("replicasets", version) not in self.objects:
            labels = {**template["metadata"]["labels"], HASH: version}
            self.create_replica_set({"name": version, "labels": labels}, template, labels)
        if version == status.get("currentPodHash"):
            return
        status.update(currentPodHash=version, phase="Progressing", message="more replicas need to be updated", currentStepIndex=0)
        status.pop("abort", None)
        status.pop("promoteFull", None)
        self.weigh(status, 0)
        # The first version has nothing to be compared with, and the stable one needs no steps.
        if status.setdefault("stableRS", version) == version:
            status.update(phase="Healthy", message="")

    def go_on(self, status):
        template = self.get("replicasets", status["currentPodHash"])["spec"]["template"]
        plan = self.plans[template["spec"]["containers"][0]["image"]]
        if status.get("abort"):
            status.update(phase="Degraded", message="RolloutAborted: the analysis of error-rate failed")
            self.weigh(status, 0)
        elif plan == "slow" and self.slow_looks > 0:
            self.slow_looks -= 1
            status.update(message="updated replicas are still becoming available")
        elif status.get("promoteFull") or (plan == "good" and status["currentStepIndex"] == 3):
            status.update(stableRS=status["currentPodHash"], phase="Healthy", message="")
            self.weigh(status, 0)
        elif plan == "bad" and status["currentStepIndex"] == 1:
            status["abort"] = True
        elif plan == "quiet" and status["currentStepIndex"] == 1:
            status.update(phase="Paused", message="InconclusiveAnalysisRun")
        elif plan == "paused":
            status.update(phase="Paused", message="manually paused")
        elif plan != "stuck":
            self.weigh(status, [10, 50, 100][status["currentStepIndex"]])
            status["currentStepIndex"] += 1

    def weigh(self, status, weight):
        status["canary"] = {"weights": {"canary": {"weight": weight}}}
        if not self.weights or self.weights[-1] != weight:
            self.weights.append(weight)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def refuse(self, status, reason, message):
        body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": status, "message": message}
        self.answer(status, body)

    def respond(self):
        cluster, url = self.server.cluster, urllib.parse.urlsplit(self.path)
        text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = json.loads(text) if text else None
        if any(self.command == method and part in url.path for method, part in (entry.split() for entry in cluster.broken)):
            return self.refuse(500, "InternalError", "etcd is away")
        if found := discovery(url.path.strip("/")) or validation(url.path.strip("/")):
            return self.answer(200, found)
        way = re.fullmatch(r"/(?:api|apis)/(.*?)/(?:namespaces/[^/]+/)?([a-z]+)(?:/([^/]+))?(/[a-z]+)?", url.path)
        if not way or way[1] not in KINDS or way[2] not in KINDS[way[1]]:
            return self.refuse(404, "NotFound", "no such thing")
        version, plural, name, _ = way.groups()
        if self.command != "GET":
            cluster.calls.append((self.command, f"{plural}/{name or body['metadata']['name']}", body))
        query = urllib.parse.parse_qs(url.query)
        if "watch" in query:
            return self.watch(cluster, plural, query)
        if self.command == "POST":
            return self.answer(201, cluster.create(plural, body))
        if name is None:
            return self.answer(200, listed(cluster, version, plural, query))
        if (plural, name) not in cluster.objects:
            return self.refuse(404, "NotFound", f'{plural} "{name}" not found')
        item = cluster.objects[plural, name]
        if self.command == "DELETE":
            del cluster.objects[plural, name]
        elif self.command == "PATCH":
            item = cluster.patch(plural, name, "strategic" if "strategic" in self.headers["Content-Type"] else "merge", body)
        else:
            cluster.looked_at(plural, item)
        return self.answer(200, item)

    do_GET = do_POST = do_PATCH = do_DELETE = respond

    def watch(self, cluster, plural, query):
        """One look and its end; whoever wants more asks again."""
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Connection", "close")
        self.end_headers()
        for item in listed(cluster, "", plural, query)["items"]:
            self.wfile.write(json.dumps({"type": "MODIFIED", "object": item}).encode() + b"\n")
        self.wfile.flush()
        time.sleep(0.2)
        self.close_connection = True


def listed(cluster, version, plural, query):
    items = [item for (kind, _), item in cluster.objects.items() if kind == plural]
    for part in filter(None, query.get("labelSelector", [""])[0].split(",")):
        name, value = part.split("=")
        items = [item for item in items if item["metadata"].get("labels", {}).get(name) == value]
    for part in filter(None, query.get("fieldSelector", [""])[0].split(",")):
        items = [item for item in items if item["metadata"]["name"] == part.split("=")[1]]
    kind = KINDS.get(version, {}).get(plural, "")
    return {"kind": f"{kind}List", "apiVersion": version, "metadata": {"resourceVersion": "1"}, "items": items}


def discovery(path):
    if path == "api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "apis":
        groups = []
        for version in filter(lambda version: "/" in version, KINDS):
            preferred = {"groupVersion": version, "version": version.split("/")[1]}
            groups.append({"name": version.split("/")[0], "versions": [preferred], "preferredVersion": preferred})
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
    version = path.split("/", 1)[-1]
    if version not in KINDS:
        return None
    verbs = ["create", "delete", "get", "list", "patch", "watch"]
    resources = [
        {"name": plural, "singularName": kind.lower(), "kind": kind, "namespaced": kind not in NOT_NAMESPACED, "verbs": verbs}
        for plural, kind in KINDS[version].items()
    ]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources}


def validation(path):
    """That the server checks fields itself, so that kubectl does not ask for every schema."""
    if path == "openapi/v3":
        places = {version: f"{'apis' if '/' in version else 'api'}/{version}" for version in KINDS}
        return {"paths": {place: {"serverRelativeURL": f"/openapi/v3/{place}"} for place in places.values()}}
    version = path.removeprefix("openapi/v3/").split("/", 1)[-1]
    if not path.startswith("openapi/v3/") or version not in KINDS:
        return None
    group, _, number = version.rpartition("/")
    paths = {}
    for plural, kind in KINDS[version].items():
        named = {"group": group, "version": number, "kind": kind}
        patch = {"x-kubernetes-group-version-kind": named, "parameters": [{"name": "fieldValidation", "in": "query"}], "responses": {}}
        paths[f"/{version}/{plural}/{{name}}"] = {"patch": patch}
    return {"openapi": "3.0.0", "info": {"title": "cluster", "version": "1"}, "paths": paths}


def plural_of(kind):
    kind = kind.lower()
    if kind.endswith("y") and kind[-2] not in "aeiou":
        return f"{kind[:-1]}ies"
    return f"{kind}es" if kind.endswith("s") else f"{kind}s"


def serve(manifests):
    """A cluster that knows the kinds of these manifests."""
    for item in manifests:
        KINDS.setdefault(item["apiVersion"], {})[plural_of(item["kind"])] = item["kind"]
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.cluster = Cluster()
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    return server
