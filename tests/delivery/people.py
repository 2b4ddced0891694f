"""What people do while two releases serve: each thing is done at one instance, and what follows from it is asked of another."""

import json
import time

import service
from upstream import MODEL, WORDS

PASSWORD, CHANGED = "leaves that fall in October", "leaves that fall in November"


class Person:
    """Somebody with a session, who gives the password again where an instance asks for that."""

    def __init__(self, email, password, tokens):
        self.email, self.password = email, password
        self.token, self.refresh_token, self.id = tokens["access_token"], tokens["refresh_token"], tokens["user"]["id"]

    def do(self, port, method, path, body=None, expect=200):
        status, answer = service.call(port, method, path, body, self.token)
        if status == 403 and "step_up_required" in str(answer):
            confirmed = service.call(port, "POST", "/api/auth/confirm", {"password": self.password}, self.token)
            assert confirmed[0] == 204, confirmed
            status, answer = service.call(port, method, path, body, self.token)
        assert status == expect, f"{method} {path} at {port}: {status} {answer}"
        return answer

    def is_out(self, port):
        return service.call(port, "GET", "/api/users/me", token=self.token)[0] == 401


def address(name):
    return f"{name}-{time.time_ns()}@maple.example"


def register(port):
    email = address("owner")
    body = {"email": email, "password": PASSWORD, "name": "Ada", "organization": "Together"}
    status, answer = service.call(port, "POST", "/api/auth/register", body)
    assert status == 201, answer
    return Person(email, PASSWORD, answer)


def sign_in(port, email, password, expect=200):
    status, answer = service.call(port, "POST", "/api/auth/login", {"email": email, "password": password})
    assert status == expect, answer
    return Person(email, password, answer) if status == 200 else None


def invite(owner, making, accepting):
    """One invitation that is accepted, by a person who is given back, and one that is withdrawn before."""
    email = address("member")
    made = owner.do(making, "POST", "/api/invitations", {"email": email, "role": "member"}, expect=201)
    listed = owner.do(accepting, "GET", "/api/invitations")["data"]
    assert made["id"] in [invitation["id"] for invitation in listed]
    acceptance = {"token": made["token"], "name": "Grace", "password": PASSWORD}
    status, answer = service.call(accepting, "POST", "/api/invitations/accept", acceptance)
    assert status == 201, answer
    withdrawn = owner.do(making, "POST", "/api/invitations", {"email": address("nobody"), "role": "member"}, expect=201)
    owner.do(accepting, "DELETE", f"/api/invitations/{withdrawn['id']}", expect=204)
    status, refused = service.call(making, "POST", "/api/invitations/accept", {**acceptance, "token": withdrawn["token"]})
    assert status in (404, 410), refused
    return Person(email, PASSWORD, answer)


def change_role(owner, member, making, asked):
    owner.do(making, "PATCH", f"/api/users/{member.id}", {"role": "admin"})
    service.wait_until("the new role", lambda: member.do(asked, "GET", "/api/users/me")["role"] == "admin")
    # It is worth what it says: an admin may invite.
    member.do(asked, "POST", "/api/invitations", {"email": address("friend"), "role": "member"}, expect=201)


def change_password(person, making, asked):
    elsewhere = sign_in(asked, person.email, person.password)
    person.do(making, "PATCH", "/api/users/me", {"password": CHANGED, "current_password": person.password})
    old, person.password = person.password, CHANGED
    service.wait_until("the end of the other sessions", lambda: elsewhere.is_out(asked))
    sign_in(asked, person.email, old, expect=401)
    sign_in(asked, person.email, CHANGED)
    person.do(asked, "GET", "/api/users/me")


def refresh(person, port):
    status, answer = service.call(port, "POST", "/api/auth/refresh", {"refresh_token": person.refresh_token})
    assert status == 200, answer
    person.token, person.refresh_token = answer["access_token"], answer["refresh_token"]


def converse(person, writing, reading):
    """A question at each of the two, whose answers both read; how many were answered."""
    one = person.do(writing, "POST", "/api/conversations", {"title": "Leaves", "model": MODEL}, expect=201)["id"]
    for port in (writing, reading):
        events = person.do(port, "POST", f"/api/conversations/{one}/messages", {"content": f"What do leaves do at {port}?"})
        assert "event: done" in events and "event: error" not in events, events
    for port in (writing, reading):
        messages = person.do(port, "GET", f"/api/conversations/{one}")["messages"]
        answers = [message["content"] for message in messages if message["role"] == "assistant"]
        assert answers == ["".join(WORDS)] * 2, json.dumps(messages)
    person.do(reading, "DELETE", f"/api/conversations/{one}", expect=204)
    person.do(writing, "GET", f"/api/conversations/{one}", expect=404)
    return 2


def keys(person, making, asked):
    made = person.do(making, "POST", "/api/keys", {"name": "Together"}, expect=201)

    def answered(port):
        return service.call(port, "GET", "/v1/models", token=made["key"])[0]

    assert answered(asked) == 200 and answered(making) == 200
    person.do(asked, "DELETE", f"/api/keys/{made['id']}", expect=204)
    service.wait_until("the end of the key", lambda: answered(making) == answered(asked) == 401)


def requests(person, port):
    """What the organisation's report counts."""
    return person.do(port, "GET", "/api/usage")["totals"]["requests"]


def live(making, asked):
    """All of it, with an organisation of its own."""
    owner = register(making)
    owner.do(asked, "GET", "/api/users/me")
    owner = sign_in(asked, owner.email, PASSWORD)
    refresh(owner, making)
    member = invite(owner, making, asked)
    change_role(owner, member, making, asked)
    change_password(member, making, asked)
    answered = converse(member, making, asked)
    keys(member, making, asked)
    service.wait_until("the answers in the report", lambda: requests(owner, asked) >= answered, limit=20)
    assert requests(owner, making) == requests(owner, asked) == answered
    owner.do(making, "DELETE", f"/api/users/{member.id}", expect=204)
    service.wait_until("the end of who was removed", lambda: member.is_out(asked) and member.is_out(making))
    status, answer = service.call(making, "POST", "/api/auth/logout", token=owner.token)
    assert status == 204, answer
    service.wait_until("the end of the session", lambda: owner.is_out(asked) and owner.is_out(making))
