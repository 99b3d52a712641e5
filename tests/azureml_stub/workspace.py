"""The workspace: ARM's resources, run history, storage; requests written down, troubles scriptable."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from tests.azureml_stub.jobs import Child, Job, run_job
from tests.azureml_stub.models import Models
from tests.azureml_stub.proxy import Answer, Proxy, Request

SUBSCRIPTION, GROUP, NAME = "11111111-0000-0000-0000-000000000000", "edge", "lab"
ARM, API, BLOB = "management.azure.com", "eastus.api.azureml.ms", "labstore.blob.core.windows.net"
ENTRA, TENANT = "login.microsoftonline.com", "33333333-0000-0000-0000-000000000000"
ROOT = (
    f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}"
    f"/providers/Microsoft.MachineLearningServices/workspaces/{NAME}"
)
SAS = "sv=2024-01-01&sig=SECRETSIGNATURE"
CONTAINER = "azureml-blobstore"

Trouble = Callable[[Request], Answer | None]


@dataclass(frozen=True)
class Token:
    """As azure-core wants it."""

    token: str
    expires_on: int


@dataclass
class Login:
    """Gives unsigned tokens for any scope; each one differs from the last."""

    given: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def get_token(self, *scopes: str, **_: Any) -> Token:
        with self.lock:
            self.given += 1
        claims = {"aud": scopes[0].removesuffix("/.default"), "tid": "tenant", "n": self.given}
        parts = ({"alg": "none"}, claims)
        head, body = (
            base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts
        )
        return Token(f"{head}.{body}.SECRETTOKENX", int(time.time()) + 3600)


class Azure:
    """One subscription with one workspace; `work`: a folder of its own."""

    def __init__(self, work: Path) -> None:
        self.requests: list[Request] = []
        self.troubles: list[Trouble] = []
        self.blobs: dict[str, bytes] = {}
        self.metadata: dict[str, dict[str, str]] = {}
        self.assets: dict[str, dict[str, Any]] = {}
        self.computes: dict[str, dict[str, Any]] = {}
        self.jobs: dict[str, Job] = {}
        self.variables: dict[str, str] = {}
        """Environment variables of all steps."""
        self.go_on = threading.Event()
        """Steps wait for it before they start."""
        self.go_on.set()
        self.lock = threading.Lock()
        self.work = work
        self.login = Login()
        self.models = Models(API, ROOT, BLOB, self.blobs)
        self.proxy = Proxy(work, [ARM, API, BLOB, ENTRA], self._answer)

    @property
    def environment(self) -> dict[str, str]:
        """With it, a process's HTTPS comes here."""
        return {
            "HTTPS_PROXY": self.proxy.url,
            "https_proxy": self.proxy.url,
            "NO_PROXY": "",
            "no_proxy": "",
            "REQUESTS_CA_BUNDLE": str(self.proxy.ca_file),
        }

    def stop(self) -> None:
        for job in self.jobs.values():
            job.cancel.set()
            if job.thread:
                job.thread.join()
        self.proxy.stop()

    def trouble(self, times: int, matches: str, answer: Answer) -> None:
        """Answers the next `times` requests whose line holds `matches` with `answer` instead."""
        left = [times]

        def one(request: Request) -> Answer | None:
            with self.lock:
                if left[0] and matches in str(request):
                    left[0] -= 1
                    return answer
            return None

        self.troubles.append(one)

    def asked(self, matches: str) -> list[Request]:
        """The requests whose line holds `matches`."""
        return [request for request in self.requests if matches in str(request)]

    def _answer(self, request: Request) -> Answer:
        with self.lock:
            self.requests.append(request)
        for trouble in self.troubles:
            answer = trouble(request)
            if answer is not None:
                return answer
        route = {ARM: self._arm, API: self._api, BLOB: self._blob, ENTRA: self._entra}[request.host]
        if (
            request.host not in (BLOB, ENTRA)
            and "Authorization" not in request.headers
            and "/discovery" not in request.path
        ):
            return Answer(401, {"error": {"code": "AuthenticationFailed", "message": "no token"}})
        return route(request)

    def _entra(self, request: Request) -> Answer:
        """Client credentials (OAuth 2.0, v2.0 endpoint); the secret is SECRETCLIENT."""
        root = f"https://{ENTRA}/{TENANT}"
        if request.path == "/common/discovery/instance":
            found = {"preferred_network": ENTRA, "preferred_cache": ENTRA, "aliases": [ENTRA]}
            place = f"{root}/v2.0/.well-known/openid-configuration"
            return Answer(200, {"tenant_discovery_endpoint": place, "metadata": [found]})
        if request.path.endswith("/openid-configuration"):
            return Answer(
                200,
                {
                    "issuer": f"{root}/v2.0",
                    "authorization_endpoint": f"{root}/oauth2/v2.0/authorize",
                    "token_endpoint": f"{root}/oauth2/v2.0/token",
                },
            )
        form = {name: texts[0] for name, texts in parse_qs(request.body.decode()).items()}
        if form.get("client_secret") != "SECRETCLIENT":
            return Answer(401, {"error": "invalid_client", "error_description": "AADSTS7000215"})
        token = self.login.get_token(form["scope"]).token
        return Answer(200, {"token_type": "Bearer", "access_token": token, "expires_in": 3600})

    # ARM -----------------------------------------------------------------------------------------------

    def _arm(self, request: Request) -> Answer:
        path = request.path
        if not path.lower().startswith(ROOT.lower()):
            return _missing(path)
        parts = path[len(ROOT) :].strip("/").split("/")
        match (request.method, parts):
            case ("GET", [""]):
                return Answer(200, _workspace())
            case (_, ["computes", name]):
                return self._compute(request, name)
            case (_, ["jobs", *rest]):
                return self._job(request, rest)
            case ("POST", ["codes", name, "versions", version, "startPendingUpload"]):
                prefix = f"https://{BLOB}/code-{name}"
                body = {
                    "pendingUploadId": "p",
                    "pendingUploadType": "TemporaryBlobReference",
                    "blobReferenceForConsumption": {
                        "blobUri": prefix,
                        "storageAccountArmId": "/x",
                        "credential": {"credentialType": "SAS", "sasUri": f"{prefix}?{SAS}"},
                    },
                }
                return Answer(200, body)
            case ("GET", ["codes" | "components" | "environments", _, "versions"]):
                wanted = request.query.get("hash")
                found = [
                    asset
                    for id_, asset in self.assets.items()
                    if f"/{parts[0]}/" in id_ and _hash(asset) == wanted
                ]
                return Answer(200, {"value": [] if wanted is None else found})
            case ("PUT", ["codes" | "components" | "environments" as kind, name, "versions", version]):
                asset = request.json
                asset |= {"id": path, "name": version, "type": f"Microsoft.MachineLearningServices/{kind}"}
                if kind == "codes":
                    asset["prefix"] = asset["properties"]["codeUri"].removeprefix(f"https://{BLOB}/")
                self.assets[path] = asset
                return Answer(201, {k: v for k, v in asset.items() if k != "prefix"})
            case ("GET", ["codes" | "components" | "environments", _, "versions", _]):
                found_one = self.assets.get(path)
                return Answer(200, found_one) if found_one else _missing(path)
            case ("GET", ["datastores"]):
                return Answer(200, {"value": [_datastore()]})
            case ("GET", ["datastores", _]):
                return Answer(200, _datastore())
            case ("POST", ["datastores", _, "listSecrets"]):
                return Answer(200, {"secretsType": "Sas", "sasToken": SAS})
        return _missing(path)

    def _compute(self, request: Request, name: str) -> Answer:
        if request.method == "PUT":
            body = request.json
            body["properties"]["provisioningState"] = "Succeeded"
            self.computes[name] = {**body, "id": request.path, "name": name, "type": "computes"}
            return Answer(201, self.computes[name])
        return Answer(200, self.computes[name]) if name in self.computes else _missing(request.path)

    def add_compute(self, name: str) -> None:
        self.computes[name] = {
            "id": f"{ROOT}/computes/{name}",
            "name": name,
            "location": "eastus",
            "properties": {
                "computeType": "AmlCompute",
                "provisioningState": "Succeeded",
                "properties": {"vmSize": "STANDARD_DS3_V2", "scaleSettings": {"maxNodeCount": 1}},
            },
        }

    def _job(self, request: Request, rest: list[str]) -> Answer:
        if request.method == "PUT":
            with self.lock:
                if rest[0] not in self.jobs:
                    job = Job(rest[0], request.json)
                    self.jobs[rest[0]] = job
                    job.thread = threading.Thread(
                        target=run_job,
                        args=(job, self.assets, self.blobs, self.work / "jobs", self.variables, self.go_on),
                        daemon=True,
                    )
                    job.thread.start()
            return Answer(201, self._job_document(self.jobs[rest[0]]))
        found = self.jobs.get(rest[0])
        if found is None:
            return _missing(request.path)
        if rest[1:] == ["cancel"]:
            found.cancel.set()
            return Answer(200, {})
        return Answer(200, self._job_document(found))

    def _job_document(self, job: Job) -> dict[str, Any]:
        properties = {
            **job.document["properties"],
            "status": job.status,
            "services": {
                "Studio": {"jobServiceType": "Studio", "endpoint": f"https://ml.azure.com/runs/{job.name}"}
            },
        }
        return {"id": f"{ROOT}/jobs/{job.name}", "name": job.name, "type": "jobs", "properties": properties}

    # run history and data -----------------------------------------------------------------------------

    def _api(self, request: Request) -> Answer:
        path = request.path
        about_models = self.models.answer(request)
        if about_models:
            return about_models
        if path == "/discovery":
            return Answer(200, {"api": f"https://{API}", "history": f"https://{API}"})
        if path.endswith("/rundata"):
            job = self.jobs[request.json["runId"]]
            outputs = {
                name: {"assetId": f"{job.name}/{name}", "type": "uri_file"} for name in self._outputs(job)
            }
            return Answer(200, {"runMetadata": {**self._run(job), "outputs": outputs}})
        if path.endswith("/dataversion/batchGetResolvedUris"):
            values = {
                id_: {
                    "uri": f"azureml://subscriptions/{SUBSCRIPTION}/resourcegroups/{GROUP}/workspaces/{NAME}"
                    f"/datastores/workspaceblobstore/paths/azureml/{id_}",
                    "type": "uri_file",
                }
                for id_ in request.json["values"]
            }
            return Answer(200, {"values": values})
        _, _, rest = path.partition("/runs/")
        run_id, _, what = rest.partition("/")
        job = self.jobs.get(run_id)  # type: ignore[assignment]
        child = next((c for j in self.jobs.values() for c in j.children.values() if c.id == run_id), None)
        if job and what == "children":
            begun = [c for c in job.children.values() if c.status != "NotStarted"]
            return Answer(200, {"value": [self._child(job, c) for c in begun]})
        if job and what == "":
            return Answer(200, self._run(job))
        if child and what == "details":
            logs = {"user_logs/std_log.txt": f"https://{BLOB}/logs/{child.id}?{SAS}"} if child.log else {}
            logs["system_logs/lifecycler/lifecycler.log"] = f"https://{BLOB}/logs/system?{SAS}"
            return Answer(200, {"runId": run_id, "status": child.status, "logFiles": logs})
        return _missing(path)

    def _outputs(self, job: Job) -> list[str]:
        return sorted({n.split("/")[2] for n in self.blobs if n.startswith(f"azureml/{job.name}/")})

    def _run(self, job: Job) -> dict[str, Any]:
        run = {"runId": job.name, "status": job.status, "runType": "azureml.PipelineRun"}
        return {**run, "error": {"error": {"code": "UserError", "message": job.error}}} if job.error else run

    def _child(self, job: Job, child: Child) -> dict[str, Any]:
        component = self.assets[child.node["componentId"]]["properties"]["componentSpec"]
        return {
            "runId": child.id,
            "parentRunId": job.name,
            "rootRunId": job.name,
            "status": child.status,
            "displayName": child.node.get("display_name") or component.get("display_name") or child.name,
            "runType": "azureml.StepRun",
            "properties": child.properties,
            "startTimeUtc": child.started or None,
            "endTimeUtc": child.ended or None,
            **({"error": {"error": {"code": "UserError", "message": child.error}}} if child.error else {}),
        }

    # storage ------------------------------------------------------------------------------------------

    def _blob(self, request: Request) -> Answer:
        if "sig" not in request.query:
            return Answer(403, b"", {"x-ms-error-code": "AuthenticationFailed"})
        path = request.path.strip("/")
        container, _, name = path.partition("/")
        key = path if container.startswith("code-") else name
        if container == "logs":
            logs = {c.id: c.log for job in self.jobs.values() for c in job.children.values()}
            return Answer(200, logs.get(name, b"not yours"), {"Content-Type": "text/plain"})
        if request.query.get("comp") == "list":
            return self._list(request, container)
        if request.method == "PUT" and request.query.get("comp") == "metadata":
            self.metadata[key] = _metadata(request)
            return Answer(200, b"", {"ETag": '"1"'})
        if request.method == "PUT":
            self.blobs[key] = request.body
            return Answer(201, b"", {"ETag": '"1"', "Content-Type": "text/plain"})
        if key not in self.blobs:
            return Answer(404, b"", {"x-ms-error-code": "BlobNotFound"})
        size = len(self.blobs[key])
        headers = {
            "ETag": '"1"',
            "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT",
            "x-ms-blob-type": "BlockBlob",
            "Content-Length": str(size),
            **{f"x-ms-meta-{k}": v for k, v in self.metadata.get(key, {}).items()},
        }
        if request.method == "GET" and "x-ms-range" in request.headers and size:
            headers["Content-Range"] = f"bytes 0-{size - 1}/{size}"
            return Answer(206, self.blobs[key], headers)
        return Answer(200, self.blobs[key], headers)

    def _list(self, request: Request, container: str) -> Answer:
        prefix = request.query.get("prefix", "")
        items = "".join(
            f"<Blob><Name>{escape(name)}</Name><Properties><Content-Length>{len(self.blobs[name])}"
            "</Content-Length><BlobType>BlockBlob</BlobType></Properties></Blob>"
            for name in sorted(self.blobs)
            if name.startswith(prefix)
        )
        xml = (
            f'<?xml version="1.0"?><EnumerationResults ContainerName="{container}"><Blobs>{items}</Blobs>'
            "<NextMarker /></EnumerationResults>"
        )
        return Answer(200, xml.encode(), {"Content-Type": "application/xml"})


def _missing(path: str) -> Answer:
    return Answer(404, {"error": {"code": "NotFound", "message": f"nothing at {path}"}})


def _hash(asset: dict[str, Any]) -> str | None:
    return (asset["properties"].get("properties") or {}).get("hash_sha256")


def _metadata(request: Request) -> dict[str, str]:
    head = "x-ms-meta-"
    return {k.lower()[len(head) :]: v for k, v in request.headers.items() if k.lower().startswith(head)}


def _workspace() -> dict[str, Any]:
    return {
        "id": ROOT,
        "name": NAME,
        "location": "eastus",
        "type": "Microsoft.MachineLearningServices/workspaces",
        "properties": {
            "workspaceId": "22222222-0000-0000-0000-000000000000",
            "discoveryUrl": f"https://{API}/discovery",
            "mlFlowTrackingUri": f"azureml://{API}/mlflow/v1.0{ROOT}",
            "storageAccount": "/x",
        },
    }


def _datastore() -> dict[str, Any]:
    return {
        "id": f"{ROOT}/datastores/workspaceblobstore",
        "name": "workspaceblobstore",
        "type": "datastores",
        "properties": {
            "datastoreType": "AzureBlob",
            "accountName": "labstore",
            "containerName": CONTAINER,
            "endpoint": "core.windows.net",
            "protocol": "https",
            "isDefault": True,
            "credentials": {"credentialsType": "Sas"},
        },
    }
