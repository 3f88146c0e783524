"""Connections: which certificates are trusted for a registry (containers-certs.d(5)), which proxy leads there."""

from __future__ import annotations

import os
import ssl

import urllib3

from engine.context import home_directory
from engine.errors import PymanError


def pool_manager(registry: str, *, verify: bool, cert_dir: str | None = None) -> urllib3.PoolManager:
    """Return what opens connections for one registry. Raises PymanError for unusable certificates."""
    context = _ssl_context(registry, verify=verify, cert_dir=cert_dir)
    proxy = _proxy(registry)
    if proxy is not None:
        return urllib3.ProxyManager(proxy, ssl_context=context, maxsize=2)
    return urllib3.PoolManager(ssl_context=context, maxsize=2)


def _ssl_context(registry: str, *, verify: bool, cert_dir: str | None) -> ssl.SSLContext:
    if verify:
        context = ssl.create_default_context()
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)  # it was asked for
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    for directory in [cert_dir] if cert_dir else _cert_dirs(registry):
        _load(context, directory, required=cert_dir is not None)
    return context


def _cert_dirs(registry: str) -> list[str]:
    config_home = os.environ.get("XDG_CONFIG_HOME") or f"{home_directory()}/.config"
    bases = (f"{config_home}/containers", "/etc/containers", "/etc/docker")
    return [f"{base}/certs.d/{registry}" for base in bases]


def _load(context: ssl.SSLContext, directory: str, *, required: bool) -> None:
    """Trust NAME.crt as authorities, show NAME.cert with NAME.key as our own certificate."""
    try:
        names = sorted(os.listdir(directory))
    except OSError as error:
        if required:
            raise PymanError(f"{directory}: {os.strerror(error.errno or 0)}") from None
        return
    for name in names:
        path = f"{directory}/{name}"
        try:
            if name.endswith(".crt"):
                context.load_verify_locations(path)
            elif name.endswith(".cert"):
                context.load_cert_chain(path, f"{path.removesuffix('.cert')}.key")
        except (OSError, ssl.SSLError) as error:
            raise PymanError(f"cannot use the certificate {path}: {error}") from None


def _proxy(registry: str) -> str | None:
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return None
    import urllib.request  # slow to import, and most machines have no proxy

    if urllib.request.proxy_bypass(registry.partition(":")[0]):
        return None
    proxies = urllib.request.getproxies()
    return proxies.get("https") or proxies.get("all")
