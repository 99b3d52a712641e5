"""Who we are at a registry: Basic, a token of the registry's own server, or Microsoft Entra at Azure's.

Tokens are one per repository and right: pull where only reading is needed. They live in memory, and are
fetched anew before they end and when the registry says that one is good no more. Azure Container Registry
(docs/AAD-OAuth.md of its repository) gives a refresh token for an Entra access token and access tokens for
that one; the Entra token is sent to the registry's own host and nowhere else.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode

import httpx

from edgeferry.adapters.registry_transport import THROTTLED, Transport
from edgeferry.errors import RegistryError
from edgeferry.wire.acr import REPOSITORY_ROLES, ROLES, SCOPE_MAP_ACTIONS, is_azure
from edgeferry.wire.registry_token import (
    DELETE,
    PULL,
    PUSH,
    REPOSITORY,
    Challenge,
    Scope,
    is_token,
    lifetime_s,
    parse_challenge,
    parse_jwt,
    render_scope,
)

_ACTIONS: Mapping[str, tuple[str, ...]] = {PULL: (PULL,), PUSH: (PULL, PUSH), DELETE: (DELETE,)}
_DOING = {PULL: "pull from", PUSH: "push to", DELETE: "delete from"}
_SECRET = "********"
_TOKEN_S = 60.0
"""How long a token lasts when nobody says (Distribution's token document)."""
_REFRESH_S = 3600.0
_RENEW_AT = 0.8
"""Of its life a token is used this part."""


@dataclass(frozen=True)
class _Token:
    text: str = field(repr=False)
    until: float


class Login:
    """The login at one registry; `aad_token` gives a fresh Entra access token for the scope
    `https://containerregistry.azure.net/.default`, None where there is none to be had. `renew` fetches user
    name and password afresh, once they are refused: they may have been rotated."""

    def __init__(
        self,
        transport: Transport,
        username: str,
        password: str,
        aad_token: Callable[[], str] | None,
        now: Callable[[], float],
        renew: Callable[[], tuple[str, str]] | None = None,
    ) -> None:
        self._transport = transport
        self._renew = renew
        self._username = username
        self._password = password
        self._aad_token = aad_token
        self._now = now
        self._basic = False
        self._tokens: dict[tuple[str, str], _Token] = {}
        self._refresh: _Token | None = None
        self._aad = ""

    @property
    def who(self) -> str:
        """Whom the registry sees, for errors."""
        if self._aad_token is not None:
            return "this Microsoft Entra identity"
        return f"the login of {self._username}" if self._username else "a request without login"

    def authorization(self, repository: str, right: str) -> str:
        """The `Authorization` header for a request that needs `right`; "" without a login that is good."""
        if self._basic:
            return self._basic_header()
        for held in (right, PUSH) if right == PULL else (right,):
            token = self._tokens.get((repository, held))
            if token and self._now() < token.until:
                return f"Bearer {token.text}"
        return ""

    def take_challenge(self, answer: httpx.Response, repository: str, right: str) -> bool:
        """Whether there is a login, not yet refused, to answer the registry's 401 with."""
        challenge = parse_challenge(answer.headers.get("www-authenticate", ""))
        sent = answer.request.headers.get("authorization", "")
        if challenge.scheme == "basic":
            self._basic = bool(self._username)
            return self._basic and (not sent or self._is_renewed())
        if challenge.scheme != "bearer" or (_is_too_little(challenge) and sent):
            return False
        self._tokens = {key: each for key, each in self._tokens.items() if f"Bearer {each.text}" != sent}
        self._tokens[repository, right] = self._fetch(challenge, repository, right)
        return True

    def explain(self, answer: httpx.Response, repository: str, right: str) -> RegistryError | None:
        """The error when the answer is a refusal of who we are or of what we may; None otherwise."""
        challenge = parse_challenge(answer.headers.get("www-authenticate", ""))
        if answer.status_code == 403 or (answer.status_code == 401 and _is_too_little(challenge)):
            return self._lacks(answer, repository, right)
        return self._refused(answer, repository, right) if answer.status_code == 401 else None

    def read_errors(self, answer: httpx.Response) -> str:
        """The registry's own error codes and messages, in short; what is secret between us is masked."""
        try:
            document = answer.json()
            errors = document.get("errors") or [{"message": document.get("error_description", "")}]
            said = "; ".join(f"{each.get('code', '')} {each.get('message', '')}".strip() for each in errors)
        except (ValueError, TypeError, AttributeError):
            return ""
        held = [token.text for token in (*self._tokens.values(), *filter(None, [self._refresh]))]
        for secret in filter(None, (self._password, self._aad, *held)):
            said = said.replace(secret, _SECRET)
        return said

    # tokens

    def _fetch(self, challenge: Challenge, repository: str, right: str) -> _Token:
        realm = challenge.realm
        if not realm.startswith("https://"):
            raise RegistryError(
                f"{self._host} sends us for a token to {realm or 'nowhere'}, not over TLS",
                fix="correct the registry's token realm; the password was not sent",
            )
        scope = render_scope(Scope(REPOSITORY, repository, _ACTIONS[right]))
        if self._aad_token is not None:
            answer = self._ask_azure(challenge, scope, self._aad_token)
        else:
            query = urlencode({"service": challenge.service, "scope": scope})
            url = f"{realm}{'&' if '?' in realm else '?'}{query}"
            answer = self._transport.send("GET", url, self._basic_headers())
            if answer.status_code == 401 and self._is_renewed():
                answer = self._transport.send("GET", url, self._basic_headers())
        if answer.status_code == 200:
            return self._read_token(answer, ("token", "access_token"), _TOKEN_S, realm)
        if self._aad_token is not None and answer.status_code in (401, 403):
            raise self._lacks(answer, repository, right)
        raise self._explain_token_server(answer, repository, right)

    def _is_renewed(self) -> bool:
        """Whether user name and password are others now than those that were refused."""
        refused = (self._username, self._password)
        if self._renew is not None:
            self._username, self._password = self._renew()
        return refused != (self._username, self._password)

    def _ask_azure(self, challenge: Challenge, scope: str, aad_token: Callable[[], str]) -> httpx.Response:
        if not self._transport.is_registry(challenge.realm):
            raise RegistryError(
                f"{self._host} sends us for a token to {challenge.realm}, which is not its own",
                fix="correct registry.host; the Microsoft Entra token was not sent",
            )
        known = self._refresh if self._refresh and self._now() < self._refresh.until else None
        refresh = known or self._exchange(challenge, aad_token)
        answer = self._ask_access(challenge, scope, refresh)
        if answer.status_code in (400, 401) and known is not None:
            answer = self._ask_access(challenge, scope, self._exchange(challenge, aad_token))
        return answer

    def _ask_access(self, challenge: Challenge, scope: str, refresh: _Token) -> httpx.Response:
        form = {
            "grant_type": "refresh_token",
            "service": challenge.service,
            "scope": scope,
            "refresh_token": refresh.text,
        }
        return self._post(challenge.realm, form)

    def _exchange(self, challenge: Challenge, aad_token: Callable[[], str]) -> _Token:
        self._refresh, self._aad = None, aad_token()
        form = {"grant_type": "access_token", "service": challenge.service, "access_token": self._aad}
        with contextlib.suppress(ValueError, KeyError):  # without it, Azure finds the tenant itself
            form["tenant"] = str(parse_jwt(self._aad).claims["tid"])
        url = f"https://{self._host}/oauth2/exchange"
        answer = self._post(url, form)
        if answer.status_code != 200:
            raise self._explain_token_server(answer, "", PULL)
        self._refresh = self._read_token(answer, ("refresh_token",), _REFRESH_S, url)
        return self._refresh

    def _post(self, url: str, form: Mapping[str, str]) -> httpx.Response:
        headers = {"content-type": "application/x-www-form-urlencoded"}
        return self._transport.send("POST", url, headers, urlencode(form).encode())

    def _read_token(
        self, answer: httpx.Response, names: tuple[str, ...], default_s: float, url: str
    ) -> _Token:
        try:
            said = answer.json()
            text = next(str(said[name]) for name in names if said.get(name))
            if not is_token(text):
                raise ValueError("not a token")
            lasts = float(said.get("expires_in") or lifetime_s(text, default_s))
        except (ValueError, KeyError, TypeError, AttributeError, StopIteration):
            # Not `from` the cause, whose text might hold what was answered.
            raise RegistryError(
                f"{url} answered our login with something that is no token", fix="look at its log"
            ) from None
        return _Token(text, self._now() + lasts * _RENEW_AT)

    # refusals

    def _explain_token_server(self, answer: httpx.Response, repository: str, right: str) -> RegistryError:
        if answer.status_code == 401:
            return self._refused(answer, repository, right)
        if answer.status_code == 403:
            return self._lacks(answer, repository, right)
        said = self.read_errors(answer)
        return RegistryError(
            f"login: {self._host} answered {answer.status_code}{said and ': ' + said}",
            fix="try again later" if answer.status_code in THROTTLED else "look at the registry's log",
            retryable=answer.status_code in THROTTLED or answer.status_code >= 500,
        )

    def _refused(self, answer: httpx.Response, repository: str, right: str) -> RegistryError:
        said = self.read_errors(answer)
        if self._aad_token is not None:
            fix = f"give it a role on {self._host} (AcrPull, AcrPush), or log in as another with az login"
        else:
            fix = "set registry.username, and the password as EDGEFERRY_REGISTRY__PASSWORD"
            if self._username and is_azure(self._host):  # which says the same of a right that is missing
                fix += f"; where they are right: {self._fix_rights(repository, right)}"
        return RegistryError(f"{self._host} refused {self.who}{said and ': ' + said}", fix=fix)

    def _lacks(self, answer: httpx.Response, repository: str, right: str) -> RegistryError:
        said = self.read_errors(answer)
        if "client with ip" in said.lower():
            return RegistryError(
                f"{self._host} does not answer this machine's address: {said}",
                fix="allow the address in the registry's firewall (az acr network-rule add)",
            )
        where = f"{_DOING[right]} {repository} at {self._host}" if repository else f"use {self._host}"
        problem = f"{self.who} may not {where}: {answer.status_code}{said and ': ' + said}"
        return RegistryError(problem, fix=self._fix_rights(repository, right))

    def _fix_rights(self, repository: str, right: str) -> str:
        role = f"the role {ROLES[right]} on {self._host}"
        by_repository = f"{REPOSITORY_ROLES[right]} where the registry's permissions are by repository"
        if self._aad_token is not None:
            return f"give it {role} ({by_repository})"
        if is_azure(self._host):
            action = SCOPE_MAP_ACTIONS[right]
            return f"add {action} of {repository} to the token's scope map; or, for a principal, give {role}"
        return f"give this login the right `{right}` there, or use one that has it"

    @property
    def _host(self) -> str:
        return self._transport.host

    def _basic_headers(self) -> dict[str, str]:
        return {"authorization": self._basic_header()} if self._username else {}

    def _basic_header(self) -> str:
        return "Basic " + base64.b64encode(f"{self._username}:{self._password}".encode()).decode()


def _is_too_little(challenge: Challenge) -> bool:
    return challenge.error == "insufficient_scope"
