"""pull from a real registry, and from one that lies."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.archives import ImageFiles, descriptor, layer, sha256, write_oci_layout
from tests.fixtures.command import Pyman
from tests.fixtures.registry import PASSWORD, USER, Registry
from tests.fixtures.stub_registry import Answer, StubRegistry

pytestmark = pytest.mark.anyone

LAYERS = [layer({"etc/base": b"1"}), layer({"app": b"2" * 200_000}), layer({".wh.app": b"", "new": b"3"})]
IMAGE = ImageFiles(LAYERS, config={"Cmd": ["/app"]})
PULL = ("pull", "--tls-verify=false")
HOME_LESS = {"HOME": "/nonexistent", "XDG_RUNTIME_DIR": ""}


@pytest.fixture
def stub() -> Iterator[StubRegistry]:
    server = StubRegistry()
    yield server
    server.stop()


def layer_dirs(pyman: Pyman) -> set[str]:
    return {path.name for path in pyman.root.glob("layers/*")}


def leftovers(pyman: Pyman) -> list[Path]:
    return [path for name in ("staging", "trash") for path in pyman.root.glob(f"{name}/*")]


def assert_refused(pyman: Pyman, *args: str, message: str = "") -> str:
    """The pull fails with one clear line, and nothing of the image is there."""
    result = pyman(*PULL, "-q", *args, check=False, env=HOME_LESS)
    assert result.returncode == 125, result.stdout
    assert result.stderr.startswith("Error: ") and result.stderr.count("\n") == 1 and "internal" not in result.stderr
    assert message in result.stderr
    assert list(pyman.root.glob("images/*")) == []
    assert leftovers(pyman) == []
    return result.stderr


def push(registry: Registry, name: str, tmp_path: Path, *options: str, creds: str = "") -> None:
    """Put the image into a real registry, with skopeo."""
    if shutil.which("skopeo") is None:
        pytest.skip("needs skopeo")
    policy = tmp_path / "policy.json"
    policy.write_text('{"default":[{"type":"insecureAcceptAnything"}]}')
    write_oci_layout(tmp_path / "image", IMAGE, "latest")
    login = ["--dest-creds", creds] if creds else []
    subprocess.run(
        [
            *("skopeo", "--policy", str(policy), "copy", *options, *login, "--dest-tls-verify=false"),
            *(f"oci:{tmp_path}/image:latest", f"docker://{registry.address}/{name}"),
        ],
        check=True,
        capture_output=True,
    )


@pytest.mark.parametrize(
    "options", [(), ("--format", "v2s2"), ("--dest-compress-format", "zstd")], ids=["oci", "docker", "zstd"]
)
def test_pull(fresh_pyman: Pyman, registry: Registry, tmp_path: Path, options: tuple[str, ...]) -> None:
    name = f"app{len(options)}{options[0][2:5] if options else ''}"
    push(registry, f"{name}:1", tmp_path, *options)
    reference = f"{registry.address}/{name}:1"
    result = fresh_pyman(*PULL, reference)
    image_id = result.stdout.strip()
    assert result.stderr.startswith(f"Trying to pull {reference}...\n") and result.stderr.count("Copying blob") == 3
    assert layer_dirs(fresh_pyman) == {sha256(data) for data in LAYERS}
    assert leftovers(fresh_pyman) == []
    [shown] = json.loads(fresh_pyman.text("image", "inspect", reference))
    assert (shown["Id"], shown["Config"]["Cmd"], shown["RepoTags"]) == (image_id, ["/app"], [reference])
    again = fresh_pyman(*PULL, reference)
    assert again.stdout.strip() == image_id and "Copying blob" not in again.stderr
    by_digest = f"{registry.address}/{name}@{shown['Digest']}"
    assert fresh_pyman.text(*PULL, "-q", by_digest) == image_id
    assert fresh_pyman.text("image", "inspect", "-f", "{{.Id}}", by_digest) == image_id


def test_errors_are_clear(fresh_pyman: Pyman, registry: Registry) -> None:
    assert_refused(fresh_pyman, f"{registry.address}/nothing", message="not in the registry")
    assert_refused(fresh_pyman, "127.0.0.1:1/x", message="Connection refused")
    assert_refused(fresh_pyman, f"{registry.address}/Upper", message="lowercase")
    result = fresh_pyman("pull", "-q", f"{registry.address}/nothing", check=False)
    assert result.returncode == 125 and "--tls-verify=false" in result.stderr


def test_password(fresh_pyman: Pyman, password_registry: Registry, tmp_path: Path) -> None:
    reference = f"{password_registry.address}/app"
    push(password_registry, "app", tmp_path, creds=f"{USER}:{PASSWORD}")
    assert_refused(fresh_pyman, reference, message="access denied")
    said = assert_refused(fresh_pyman, "--creds", f"{USER}:wrong", reference, message="does not accept")
    assert "wrong" not in said
    assert fresh_pyman.text(*PULL, "-q", "--creds", f"{USER}:{PASSWORD}", reference) == IMAGE.image_id
    import base64

    auth = tmp_path / "auth.json"
    token = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    auth.write_text(json.dumps({"auths": {password_registry.address: {"auth": token}}}))
    assert fresh_pyman.text(*PULL, "-q", "--authfile", auth, reference) == IMAGE.image_id


def test_tls(fresh_pyman: Pyman, tls_registry: Registry, tmp_path: Path) -> None:
    push(tls_registry, "app", tmp_path)
    reference = f"{tls_registry.address}/app"
    result = fresh_pyman("pull", "-q", reference, check=False)
    assert result.returncode == 125 and "self-signed certificate" in result.stderr
    certificates = tmp_path / "certs"
    certificates.mkdir()
    shutil.copy(tls_registry.certificate, certificates / "ca.crt")
    assert fresh_pyman.text("pull", "-q", "--cert-dir", certificates, reference) == IMAGE.image_id
    fresh_pyman("rmi", reference)
    assert fresh_pyman.text(*PULL, "-q", reference) == IMAGE.image_id


def test_policies(fresh_pyman: Pyman, stub: StubRegistry) -> None:
    stub.serve("app", IMAGE)
    reference = f"{stub.address}/app"
    assert_refused(fresh_pyman, "--policy=never", reference, message="never")
    assert stub.requests == []
    fresh_pyman(*PULL, "-q", "--policy=missing", reference)
    count = len(stub.requests)
    fresh_pyman(*PULL, "-q", "--policy=missing", reference)
    fresh_pyman(*PULL, "-q", "--policy=never", reference)
    assert len(stub.requests) == count
    stub.answers.clear()
    assert fresh_pyman.text(*PULL, "-q", "--policy=newer", reference) == IMAGE.image_id


def test_platforms(fresh_pyman: Pyman, stub: StubRegistry) -> None:
    images = {name: ImageFiles(LAYERS, architecture=name) for name in ("amd64", "arm64", "s390x")}
    stub.index("app", images)
    reference = f"{stub.address}/app"
    assert fresh_pyman.text(*PULL, "-q", "--arch", "arm64", reference) == images["arm64"].image_id
    assert fresh_pyman.text(*PULL, "-q", "--platform=linux/s390x", reference) == images["s390x"].image_id
    result = fresh_pyman(*PULL, "-q", "--arch=riscv64", reference, check=False)
    assert "no image for linux/riscv64" in result.stderr and "linux/arm64" in result.stderr


def test_equal_layers_are_fetched_once(fresh_pyman: Pyman, stub: StubRegistry) -> None:
    stub.serve("app", ImageFiles([LAYERS[0], LAYERS[1], LAYERS[0]]))
    fresh_pyman(*PULL, "-q", f"{stub.address}/app")
    assert len(stub.asked(f"/v2/app/blobs/sha256:{sha256(IMAGE.layers[0])}")) == 1


def lie(stub: StubRegistry, kind: str) -> None:
    """Serve the image with one lie in it."""
    stub.serve("app", IMAGE)
    blob = f"/v2/app/blobs/sha256:{sha256(IMAGE.layers[1])}"
    data = IMAGE.layers[1]
    manifest: dict[str, Any] = json.loads(IMAGE.manifest)
    if kind == "other bytes":
        stub.answers[blob] = Answer(ImageFiles([layer({"app": b"3" * 200_000})]).layers[0])
    elif kind == "one bit":
        stub.answers[blob] = Answer(data[:40] + bytes([data[40] ^ 1]) + data[41:])
    elif kind == "truncated":
        stub.answers[blob] = Answer(data[:-20])
    elif kind == "connection breaks":
        stub.answers[blob] = Answer(data[:-20], length=len(data))
    elif kind == "extra bytes":
        stub.answers[blob] = Answer(data + b"extra")
    elif kind == "endless extra bytes":
        stub.answers[blob] = Answer(data + bytes(3_000_000))
    elif kind == "missing":
        del stub.answers[blob]
    elif kind == "wrong size":
        manifest["layers"][1]["size"] += 1
    elif kind == "wrong diff id":
        bad = ImageFiles(LAYERS, diff_ids=[*IMAGE.diff_ids[:2], "sha256:" + "cd" * 32])
        stub.serve("app", bad)
        return
    elif kind == "fewer diff ids":
        stub.serve("app", ImageFiles(LAYERS, diff_ids=IMAGE.diff_ids[:2]))
        return
    elif kind == "other config":
        stub.answers[f"/v2/app/blobs/sha256:{IMAGE.image_id}"] = Answer(IMAGE.config.replace(b"/app", b"/bad"))
    elif kind == "digest with a path":
        manifest["layers"][1]["digest"] = "sha256:../../../secret"
    elif kind == "md5":
        manifest["layers"][1]["digest"] = "md5:" + "a" * 32
    elif kind == "index and manifest":
        manifest["manifests"] = []
    elif kind == "schema 1":
        manifest["schemaVersion"] = 1
    elif kind == "artifact":
        manifest["config"]["mediaType"] = "application/vnd.example"
    elif kind == "encrypted":
        manifest["layers"][1]["mediaType"] += "+encrypted"
    elif kind == "huge manifest":
        manifest["annotations"] = {"x": "y" * 5_000_000}
    elif kind == "deep manifest":
        stub.document("app", "latest", b"[" * 200_000, manifest["mediaType"])
        return
    stub.document("app", "latest", json.dumps(manifest).encode(), manifest["mediaType"])


LIES = [
    *("other bytes", "one bit", "truncated", "connection breaks", "extra bytes", "endless extra bytes", "missing"),
    *("wrong size", "wrong diff id", "fewer diff ids", "other config", "digest with a path", "md5", "schema 1"),
    *("index and manifest", "artifact", "encrypted", "huge manifest", "deep manifest"),
]


@pytest.mark.parametrize("kind", LIES)
def test_lies_are_refused(fresh_pyman: Pyman, stub: StubRegistry, kind: str) -> None:
    lie(stub, kind)
    assert_refused(fresh_pyman, f"{stub.address}/app")
    assert all(path.startswith(("/v2/app/", "/v2/")) and ".." not in path for path, _ in stub.requests)
    # A layer that came whole may stay; one that did not must not.
    for digits in layer_dirs(fresh_pyman):
        assert digits in {sha256(data) for data in LAYERS}


def test_a_lie_under_a_digest_is_refused(fresh_pyman: Pyman, stub: StubRegistry) -> None:
    stub.serve("app", IMAGE)
    wrong = "sha256:" + "ef" * 32
    stub.answers[f"/v2/app/manifests/{wrong}"] = Answer(IMAGE.manifest)
    assert_refused(fresh_pyman, f"{stub.address}/app@{wrong}", message="promised")


def needs_token(realm: str, image: ImageFiles, stub: StubRegistry) -> None:
    """Serve the image to those who show the token that the realm gives."""
    stub.serve("app", image)
    challenge = {"WWW-Authenticate": f'Bearer realm="{realm}",service="stub",scope="repository:app:pull"'}

    def guarded(answer: Answer) -> Callable[[dict[str, str]], Answer]:
        def check(headers: dict[str, str]) -> Answer:
            good = headers.get("authorization") == "Bearer sesame"
            return answer if good else Answer(b"{}", status=401, headers=challenge)

        return check

    for path, answer in list(stub.answers.items()):
        if path != "/v2/" and isinstance(answer, Answer):
            stub.answers[path] = guarded(answer)


def test_token(fresh_pyman: Pyman, stub: StubRegistry) -> None:
    needs_token(f"http://{stub.address}/token", IMAGE, stub)
    stub.answers["/token"] = Answer(b'{"token":"sesame"}')
    assert fresh_pyman.text(*PULL, "-q", "--creds=u:p", f"{stub.address}/app") == IMAGE.image_id
    [asked] = stub.asked("/token")
    assert asked["authorization"].startswith("Basic ")
    assert not any(
        "Basic" in headers.get("authorization", "")
        for path, headers in stub.requests
        if path != "/v2/" and not path.startswith("/token")
    )


def test_password_does_not_go_to_a_foreign_realm(fresh_pyman: Pyman, stub: StubRegistry) -> None:
    other = StubRegistry()
    try:
        realm = other.address.replace("127.0.0.1", "127.0.0.2")
        needs_token(f"http://{realm}/token", IMAGE, stub)
        assert_refused(fresh_pyman, "--creds=u:p", f"{stub.address}/app", message="another domain")
        assert other.requests == []
    finally:
        other.stop()


def test_authorization_does_not_follow_redirects(fresh_pyman: Pyman, stub: StubRegistry) -> None:
    """Registries keep blobs elsewhere: that host gets the request, but not the password."""
    other = StubRegistry()
    try:
        stub.serve("app", IMAGE)
        for digest, data in IMAGE.blobs().items():
            other.answers[f"/store/{digest}"] = Answer(data)
            location = {"Location": f"http://{other.address}/store/{digest}"}
            stub.answers[f"/v2/app/blobs/{digest}"] = Answer(status=307, headers=location)
        challenge = {"WWW-Authenticate": 'Basic realm="x"'}
        manifest = stub.answers["/v2/app/manifests/latest"]
        assert isinstance(manifest, Answer)
        stub.answers["/v2/app/manifests/latest"] = lambda headers: (
            manifest if "authorization" in headers else Answer(status=401, headers=challenge)
        )
        assert fresh_pyman.text(*PULL, "-q", "--creds=u:p", f"{stub.address}/app") == IMAGE.image_id
        assert len(other.requests) == len(IMAGE.blobs())
        assert not any("authorization" in headers for _, headers in other.requests)
        assert any("authorization" in headers for _, headers in stub.requests)
    finally:
        other.stop()


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "http://169.254.169.254/latest", "http://[fe80::1]/x", "gopher://x/", "", "//"]
)
def test_redirects_that_are_refused(fresh_pyman: Pyman, stub: StubRegistry, location: str) -> None:
    stub.serve("app", IMAGE)
    for digest in IMAGE.blobs():
        stub.answers[f"/v2/app/blobs/{digest}"] = Answer(status=302, headers={"Location": location})
    assert_refused(fresh_pyman, f"{stub.address}/app")


def test_https_is_not_left_for_http(
    fresh_pyman: Pyman, stub: StubRegistry, tls_registry: Registry, tmp_path: Path
) -> None:
    secure = StubRegistry((tls_registry.certificate, tls_registry.directory / "registry.key"))
    try:
        secure.serve("app", IMAGE)
        stub.serve("app", IMAGE)
        for digest in IMAGE.blobs():
            location = f"http://{stub.address}/v2/app/blobs/{digest}"
            secure.answers[f"/v2/app/blobs/{digest}"] = Answer(status=302, headers={"Location": location})
        assert_refused(fresh_pyman, f"{secure.address}/app", message="plain HTTP")
        assert stub.requests == []
    finally:
        secure.stop()


def test_rate_limits_are_explained(fresh_pyman: Pyman, stub: StubRegistry) -> None:
    body = b'{"errors":[{"message":"too many \\u001b[31mrequests"}]}'
    stub.answers["/v2/app/manifests/latest"] = Answer(body, status=429, headers={"Retry-After": "3600"})
    said = assert_refused(fresh_pyman, f"{stub.address}/app", message="3600")
    assert "too many" in said and "\x1b" not in said
    assert len(stub.asked("/v2/app/manifests/latest")) == 1


def test_passing_failures_are_retried(fresh_pyman: Pyman, stub: StubRegistry) -> None:
    stub.serve("app", IMAGE)
    path = "/v2/app/manifests/latest"
    good = stub.answers[path]
    assert isinstance(good, Answer)
    stub.answers[path] = lambda _: good if len(stub.asked(path)) > 2 else Answer(status=503)
    assert fresh_pyman.text(*PULL, "-q", f"{stub.address}/app") == IMAGE.image_id


def test_twenty_pulls_at_once(fresh_pyman: Pyman, stub: StubRegistry) -> None:
    stub.serve("app", IMAGE)
    running = [fresh_pyman.start(*PULL, "-q", f"{stub.address}/app") for _ in range(20)]
    results = [process.communicate(timeout=60) for process in running]
    assert {out for out, _ in results} == {f"{IMAGE.image_id}\n"}, results
    assert layer_dirs(fresh_pyman) == {sha256(data) for data in LAYERS}
    assert leftovers(fresh_pyman) == []


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_killed_while_pulling(fresh_pyman: Pyman, stub: StubRegistry, how: signal.Signals) -> None:
    """Nothing that is visible is damaged, no process stays, and the next pull works."""
    big = ImageFiles([LAYERS[0], layer({f"d/{n}": bytes(100) for n in range(2000)})], compress=False)
    stub.serve("app", big)
    path = f"/v2/app/blobs/sha256:{sha256(big.layers[1])}"
    release = threading.Event()
    stub.answers[path] = Answer(big.layers[1][:1_000_000], length=len(big.layers[1]), stall=release)
    process = fresh_pyman.start(*PULL, "-q", f"{stub.address}/app")
    deadline = time.monotonic() + 20
    while not list(fresh_pyman.root.glob("staging/*/diff/d/500")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(how)
    process.communicate(timeout=20)
    release.set()
    assert fresh_pyman.text("images", "-q") == ""
    assert layer_dirs(fresh_pyman) <= {sha256(big.layers[0])}
    stub.serve("app", big)
    assert fresh_pyman.text(*PULL, "-q", f"{stub.address}/app") == big.image_id
    assert leftovers(fresh_pyman) == []
    [diff] = fresh_pyman.root.glob(f"layers/{sha256(big.layers[1])}/diff/d")
    assert len(list(diff.iterdir())) == 2000


def test_layers_of_a_failed_pull_are_kept_and_pruned(fresh_pyman: Pyman, stub: StubRegistry) -> None:
    lie(stub, "missing")
    first = ImageFiles(LAYERS[:1])
    stub.serve("one", first)
    fresh_pyman(*PULL, "-q", f"{stub.address}/one")
    assert fresh_pyman(*PULL, "-q", f"{stub.address}/app", check=False).returncode == 125
    fresh_pyman("image", "prune", "-f")
    assert layer_dirs(fresh_pyman) == {sha256(LAYERS[0])}
    assert fresh_pyman.text("images", "-q") == first.image_id[:12]


def test_nothing_is_fetched_for_annotations_and_urls(fresh_pyman: Pyman, stub: StubRegistry) -> None:
    other = StubRegistry()
    try:
        image = ImageFiles(LAYERS[:1])
        image.manifest_value["layers"][0]["urls"] = [f"http://{other.address}/evil"]
        image.manifest_value["subject"] = descriptor("application/vnd.oci.image.manifest.v1+json", b"{}")
        stub.serve("app", image)
        assert fresh_pyman.text(*PULL, "-q", f"{stub.address}/app") == image.image_id
        assert other.requests == []
    finally:
        other.stop()
