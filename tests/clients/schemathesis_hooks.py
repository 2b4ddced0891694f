"""Makes generated requests reach further than the first check: half of the ids, models and invitations are real.

Which half follows from the generated value, not from chance, so that a seed gives the same run again.
"""

import atexit
import collections
import json
import os
import zlib

import requests
import schemathesis

URL = os.environ["MAPLE_URL"]
TOKEN = os.environ["MAPLE_TOKEN"]
EMAIL, PASSWORD = os.environ["MAPLE_EMAIL"], os.environ["MAPLE_PASSWORD"]

calls = collections.Counter()


@atexit.register
def write_counts():
    with open(os.environ["MAPLE_CALL_COUNTS"], "w", encoding="utf-8") as file:
        json.dump(calls, file)


def api(method, path, body=None):
    answer = requests.request(
        method, URL + path, json=body, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=15
    )
    answer.raise_for_status()
    return answer


def new_conversation():
    return api("POST", "/api/conversations", {"title": "For the OpenAPI run"}).json()["id"]


def new_answered_conversation():
    conversation = new_conversation()
    api("POST", f"/api/conversations/{conversation}/messages", {"content": "Hello"})
    return conversation


def new_key():
    return api("POST", "/api/keys", {"name": "For the OpenAPI run"}).json()["id"]


def new_invitation(field="id"):
    email = f"{os.urandom(8).hex()}@openapi.example"
    return api("POST", "/api/invitations", {"email": email, "role": "member"}).json()[field]


def new_member():
    accepted = {"token": new_invitation("token"), "name": "For the OpenAPI run", "password": PASSWORD}
    return api("POST", "/api/invitations/accept", accepted).json()["user"]["id"]


def new_session():
    api("POST", "/api/auth/login", {"email": EMAIL, "password": PASSWORD})
    # The newest is the one just opened, and never the one that the run goes by.
    return api("GET", "/api/sessions?limit=1").json()["data"][0]["id"]


# A fresh one each, since some operations delete what they find.
REAL_IDS = {
    "/api/conversations/{id}": new_conversation,
    "/api/conversations/{id}/messages": new_conversation,
    "/api/conversations/{id}/regenerate": new_answered_conversation,
    "/api/keys/{id}": new_key,
    "/api/invitations/{id}": new_invitation,
    "/api/users/{id}": new_member,
    "/api/sessions/{id}": new_session,
    "/v1/models/{id}": lambda: "maple-dev",
}


def is_chosen(value):
    return zlib.crc32(repr(value).encode("utf-8", "surrogatepass")) % 2 == 0


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    if path_parameters and "id" in path_parameters and is_chosen(path_parameters["id"]):
        make = REAL_IDS.get(context.operation.path)
        if make is not None:
            return {**path_parameters, "id": make()}
    return path_parameters


@schemathesis.hook
def map_body(context, body):
    if not isinstance(body, dict):
        return body
    body = dict(body)
    if "model" in body and is_chosen(body):
        body["model"] = "maple-dev-embed" if context.operation.path == "/v1/embeddings" else "maple-dev"
    if context.operation.path == "/api/invitations/accept" and "token" in body and is_chosen(body):
        body["token"] = new_invitation("token")
    return body


def own_session():
    return next(session["id"] for session in api("GET", "/api/sessions?limit=100").json()["data"] if session["current"])


OWN_SESSION = own_session()


@schemathesis.hook
def before_call(context, case, kwargs):
    # The tool takes ids from lists, too: ending the session that it goes by itself would leave it nothing but 401.
    if case.operation.path == "/api/sessions/{id}" and str(case.path_parameters.get("id")).lower() == OWN_SESSION:
        case.path_parameters["id"] = new_session()
    calls[case.operation.label] += 1
