"""The distribution API (Docker Registry v2, OCI distribution 1.1): manifests and blobs over HTTP, tokens.

Rules for credentials: they go to the registry that they belong to and to its token service, never along a redirect to
another host; HTTPS is never left for HTTP; certificates are checked unless that was switched off for this registry.
"""

from __future__ import annotations

import os
import time
import urllib.parse

import urllib3

from engine.errors import NotFound, PymanError
from engine.images import references, tls
from engine.images.manifests import ACCEPTED, MAX_MANIFEST_BYTES, InvalidManifest, parse_json
from storage import blobs
from storage.errors import DigestMismatch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from urllib3.response import BaseHTTPResponse

    from engine.images.auth import Credentials
    from engine.images.references import Reference

_TIMEOUT = urllib3.Timeout(connect=20, read=60)
_ATTEMPTS = 4
_MAX_REDIRECTS = 5
_MAX_TOKEN_BYTES = 1 << 20
_MAX_RETRY_AFTER_S = 30
_CHUNK_BYTES = 1 << 18
_HUB_HOST = "registry-1.docker.io"


class RegistryError(PymanError):
    """The registry refused, failed, or cannot be reached."""


class Unauthorized(RegistryError):
    """The registry wants other credentials."""


class Registry:
    """One repository of one registry. After a fork the child opens connections of its own."""

    def __init__(
        self,
        reference: Reference,
        *,
        tls_verify: bool = True,
        credentials: Credentials | None = None,
        cert_dir: str | None = None,
    ) -> None:
        self._reference = reference
        self._host = _HUB_HOST if reference.registry == references.DOCKER_HUB else reference.registry
        self._tls_verify = tls_verify
        self._cert_dir = cert_dir
        self._credentials = credentials
        self._scheme = "https"
        self._scheme_known = tls_verify
        self._authorization = ""
        self._pool: urllib3.PoolManager | None = None
        self._pool_pid = 0

    def manifest(self, digest_or_tag: str) -> tuple[bytes, str]:
        """Return a manifest or index, and the type that the registry gives it; a digest is checked."""
        response = self._get(f"manifests/{digest_or_tag}", accept=", ".join(ACCEPTED))
        data = _read_capped(response, MAX_MANIFEST_BYTES, f"{self._reference}: manifest")
        actual = f"sha256:{blobs.digest_of(data)}"
        promised = digest_or_tag if ":" in digest_or_tag else response.headers.get("Docker-Content-Digest", actual)
        if promised != actual and promised.startswith("sha256:"):
            raise DigestMismatch(
                f"{self._reference}: the manifest has the digest {actual}, {promised[:80]} was promised"
            )
        return data, response.headers.get("Content-Type", "")

    def small_blob(self, digits: str, size: int) -> bytes:
        """Return a config, checked."""
        if size > blobs.MAX_BLOB_BYTES:
            raise InvalidManifest(f"{self._reference}: a config of {size} bytes")
        response = self._get(f"blobs/sha256:{digits}")
        data = _read_capped(response, size, f"{self._reference}: config")
        if len(data) != size or blobs.digest_of(data) != digits:
            raise DigestMismatch(f"{self._reference}: the config is not the one that the manifest names")
        return data

    def blob(self, digits: str) -> Iterator[bytes]:
        """Return the bytes of a blob as they come; nothing is requested before the first one is taken."""
        response = self._get(f"blobs/sha256:{digits}")
        try:
            while chunk := response.read(_CHUNK_BYTES):
                yield chunk
        except urllib3.exceptions.HTTPError as error:
            raise RegistryError(f"{self._host}: the connection broke: {_reason(error)}", hint="try again") from None
        finally:
            response.close()

    def _get(self, path: str, *, accept: str = "*/*") -> BaseHTTPResponse:
        """Send a GET for this repository; follows the login dance and redirects. Raises for every failure."""
        if not self._scheme_known:
            self._find_scheme()
        url = f"{self._scheme}://{self._host}/v2/{self._reference.path}/{path}"
        response = self._send(url, accept, self._authorization)
        if response.status == 401:
            challenge = response.headers.get("WWW-Authenticate", "")
            response.close()
            self._authorization = self._authorize(challenge)
            response = self._send(url, accept, self._authorization)
        for _ in range(_MAX_REDIRECTS):
            if response.status not in (301, 302, 303, 307, 308):
                break
            target = urllib.parse.urljoin(url, response.headers.get("Location", ""))
            response.close()
            _check_redirect(url, target)
            same = _origin(url) == _origin(target)
            url = target
            response = self._send(url, accept, self._authorization if same else "")
        if response.status != 200:
            raise self._failure(response)
        return response

    def _find_scheme(self) -> None:
        """Without verification a registry may also speak plain HTTP; HTTPS is tried first, as Podman does."""
        try:
            self._manager().request("GET", f"https://{self._host}/v2/", retries=False, timeout=_TIMEOUT)
        except (urllib3.exceptions.SSLError, urllib3.exceptions.ProtocolError):
            self._scheme = "http"
        except urllib3.exceptions.HTTPError as error:
            self._scheme = "http" if "WRONG_VERSION_NUMBER" in str(error) else "https"
        self._scheme_known = True

    def _send(self, url: str, accept: str, authorization: str) -> BaseHTTPResponse:
        headers = {"Accept": accept, "User-Agent": "pyman", "Accept-Encoding": "identity"}
        if authorization:
            headers["Authorization"] = authorization
        for attempt in range(1, _ATTEMPTS + 1):
            last = attempt == _ATTEMPTS
            try:
                response = self._manager().request(
                    "GET", url, headers=headers, preload_content=False, redirect=False, retries=False, timeout=_TIMEOUT
                )
            except urllib3.exceptions.HTTPError as error:
                if last or not _is_passing(error):
                    raise RegistryError(
                        f"cannot reach {urllib.parse.urlsplit(url).netloc}: {_reason(error)}", hint=self._hint(error)
                    ) from None
                time.sleep(0.2 * 2**attempt)
                continue
            if response.status in (500, 502, 503, 504, 429) and not last:
                delay_s = _retry_after(response.headers.get("Retry-After"), 0.2 * 2**attempt)
                if delay_s <= _MAX_RETRY_AFTER_S and (response.status != 429 or "Retry-After" in response.headers):
                    response.close()
                    time.sleep(delay_s)
                    continue
            return response
        raise AssertionError("unreachable")

    def _hint(self, error: Exception) -> str:
        text = str(error)
        if "WRONG_VERSION_NUMBER" in text or "record layer failure" in text:
            return "the registry speaks plain HTTP: --tls-verify=false allows that"
        if "CERTIFICATE_VERIFY_FAILED" in text:
            return "put its authority's certificate into ~/.config/containers/certs.d/HOST:PORT/ca.crt"
        return ""

    def _manager(self) -> urllib3.PoolManager:
        if self._pool is None or self._pool_pid != os.getpid():
            self._pool = tls.pool_manager(self._reference.registry, verify=self._tls_verify, cert_dir=self._cert_dir)
            self._pool_pid = os.getpid()
        return self._pool

    def _authorize(self, challenge: str) -> str:
        """Answer a 401: returns the Authorization header to send from now on. Raises Unauthorized."""
        scheme, parameters = parse_challenge(challenge)
        if scheme == "basic":
            if self._credentials is None or self._authorization.startswith("Basic"):
                raise self._denied()
            return self._credentials.basic()
        if scheme == "bearer" and "realm" in parameters:
            return "Bearer " + self._token(parameters)
        raise RegistryError(f"{self._host} asks for a kind of login that is not known: {challenge[:80]!r}")

    def _token(self, parameters: dict[str, str]) -> str:
        realm = parameters["realm"]
        parts = urllib.parse.urlsplit(realm)
        if parts.scheme not in ("https", "http") or (parts.scheme == "http" and self._scheme == "https"):
            raise RegistryError(f"{self._host} names a token service that cannot be trusted: {realm[:100]}")
        _refuse_link_local(parts.hostname or "", realm)
        query = {"scope": parameters.get("scope") or f"repository:{self._reference.path}:pull"}
        if "service" in parameters:
            query["service"] = parameters["service"]
        authorization = ""
        if self._credentials is not None:
            if not may_send_password(self._host, parts.netloc):
                raise RegistryError(
                    f"{self._host} wants your password sent to {parts.netloc[:100]}, a host of another domain"
                )
            authorization = self._credentials.basic()
        url = f"{realm}{'&' if parts.query else '?'}{urllib.parse.urlencode(query)}"
        response = self._send(url, "application/json", authorization)
        if response.status in (401, 403):
            raise self._denied()
        if response.status != 200:
            raise self._failure(response)
        value = parse_json(_read_capped(response, _MAX_TOKEN_BYTES, "token"), "token")
        token = value.get("token") or value.get("access_token")
        if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable():
            raise RegistryError(f"{parts.netloc} sent no token")
        return token

    def _denied(self) -> Unauthorized:
        if self._credentials is None:
            return Unauthorized(
                f"{self._reference}: access denied, or no such repository", hint="private ones need --creds or a login"
            )
        return Unauthorized(
            f"{self._reference}: {self._host} does not accept user {self._credentials.user} or password"
        )

    def _failure(self, response: BaseHTTPResponse) -> PymanError:
        status = response.status
        detail = _error_detail(response)
        response.close()
        if status in (401, 403):
            return self._denied()
        if status == 404:
            return NotFound(f"{self._reference}: not in the registry{detail}", exit_status=125)
        if status == 429:
            wait = response.headers.get("Retry-After", "")
            return RegistryError(
                f"{self._host} limits how often one may pull{detail}",
                hint=f"it says to wait {wait[:20]} s" if wait.isdecimal() else "wait, or log in for a higher limit",
            )
        return RegistryError(f"{self._reference}: {self._host} answered {status}{detail}")


def parse_challenge(header: str) -> tuple[str, dict[str, str]]:
    """Split `Bearer realm="...",service="..."` into the scheme in lower case and its parameters (RFC 9110, 11.6.1)."""
    scheme, _, rest = header.strip().partition(" ")
    parameters: dict[str, str] = {}
    while rest := rest.lstrip(" ,\t"):
        key, equals, rest = rest.partition("=")
        if not equals:
            break
        if rest.startswith('"'):
            value, quote, rest = rest[1:].partition('"')
            if not quote:
                break
        else:
            value, _, rest = rest.partition(",")
        parameters[key.strip().lower()] = value.strip()
    return scheme.lower(), parameters


def may_send_password(registry_host: str, realm_host: str) -> bool:
    """Tell whether a registry's password may go to its token service: the same host, or one of the same domain."""
    registry, realm = registry_host.rpartition("@")[2].lower(), realm_host.rpartition("@")[2].lower()
    if registry == realm:
        return True
    registry_name, realm_name = registry.partition(":")[0], realm.partition(":")[0]
    if registry_name == realm_name:
        return True
    domain = registry_name.partition(".")[2]
    # registry.gitlab.com -> gitlab.com; registry-1.docker.io -> auth.docker.io. A bare top-level domain is nobody's.
    return "." in domain and (realm_name == domain or realm_name.endswith(f".{domain}"))


def _origin(url: str) -> tuple[str, str]:
    parts = urllib.parse.urlsplit(url)
    return parts.scheme, parts.netloc.lower()


def _check_redirect(source: str, target: str) -> None:
    parts = urllib.parse.urlsplit(target)
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise RegistryError(f"the registry redirects to something that is no web address: {target[:100]!r}")
    if urllib.parse.urlsplit(source).scheme == "https" and parts.scheme != "https":
        raise RegistryError(f"the registry redirects from HTTPS to plain HTTP: {target[:100]!r}")
    _refuse_link_local(parts.hostname, target)


def _refuse_link_local(host: str, url: str) -> None:
    """Cloud machines answer with secrets at 169.254.169.254; no registry is there."""
    import ipaddress

    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return
    if address.is_link_local or address.is_multicast or address.is_unspecified:
        raise RegistryError(f"the registry refers to a link-local address: {url[:100]!r}")


def _read_capped(response: BaseHTTPResponse, most: int, what: str) -> bytes:
    try:
        data = b""
        while len(data) <= most and (chunk := response.read(most + 1 - len(data))):
            data += chunk
    except urllib3.exceptions.HTTPError as error:
        raise RegistryError(f"{what}: the connection broke: {_reason(error)}", hint="try again") from None
    finally:
        response.release_conn() if len(data) <= most else response.close()
    if len(data) > most:
        raise InvalidManifest(f"{what}: more than {most} bytes")
    return data


def _error_detail(response: BaseHTTPResponse) -> str:
    """Return what the registry says about a failure, as `: text`, or nothing."""
    try:
        value = parse_json(response.read(65536), "error")
        errors = value.get("errors")
        first = errors[0] if isinstance(errors, list) and errors else value
        text = first.get("message") or first.get("details") or ""
    except (PymanError, urllib3.exceptions.HTTPError, AttributeError):
        return ""
    return f": {text[:200]}" if isinstance(text, str) and text else ""


def _retry_after(value: str | None, default_s: float) -> float:
    return float(value) if value and value.isdecimal() and len(value) < 6 else default_s


def _is_passing(error: Exception) -> bool:
    """Tell whether a failure may go away by itself: not a name that does not exist or a wrong certificate."""
    if isinstance(error, (urllib3.exceptions.SSLError, urllib3.exceptions.NameResolutionError)):
        return False
    return not isinstance(error, urllib3.exceptions.NewConnectionError) or "refused" not in str(error)


def _reason(error: Exception) -> str:
    """Return the cause in a few words, without the addresses of objects that urllib3 adds."""
    if isinstance(error, urllib3.exceptions.NameResolutionError):
        return "the name does not resolve"
    connecting = isinstance(error, urllib3.exceptions.NewConnectionError)
    if isinstance(error, urllib3.exceptions.TimeoutError) and not connecting:
        return "no answer in time"
    cause = error.__cause__ or next((item for item in error.args if isinstance(item, Exception)), error)
    message = getattr(cause, "verify_message", "") or getattr(cause, "strerror", "") or str(cause)
    return str(message).removeprefix("[SSL] ").partition(" (_ssl")[0][:200]
