"""Images as `inspect`, `history` and `images` show them: Podman's field names."""

from __future__ import annotations

from engine.images import local

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from engine.images.local import Image
    from storage.store import Store


def describe(store: Store, image: Image) -> dict[str, Any]:
    """Return what `image inspect` shows."""
    names = local.names_of(store, image.id)
    return {
        "Id": image.id,
        "Digest": image.digest,
        "RepoTags": [name for name in names if "@" not in name],
        "RepoDigests": local.repo_digests(image, names),
        "Parent": "",
        "Comment": image.comment or (image.history[-1].comment if image.history else ""),
        "Created": image.created,
        "Config": image.config,
        "Version": "",
        "Author": image.author,
        "Architecture": image.architecture,
        "Os": image.os,
        "Size": image.size,
        "VirtualSize": image.size,
        "GraphDriver": {"Name": "overlay", "Data": _directories(store, image)},
        "RootFS": {"Type": "layers", "Layers": [f"sha256:{digits}" for digits in image.layers]},
        "Labels": image.config.get("Labels"),
        "Annotations": dict(image.annotations),
        "ManifestType": image.manifest_type,
        "User": image.config.get("User", ""),
        "History": [_step(step.as_dict()) for step in image.history],
        "NamesHistory": names,
    }


def _directories(store: Store, image: Image) -> dict[str, str]:
    paths = [f"{store.layers_dir}/{digits}/diff" for digits in reversed(image.layers)]
    if not paths:
        return {}
    lower = {"LowerDir": ":".join(paths[1:])} if len(paths) > 1 else {}
    return {**lower, "UpperDir": paths[0]}


def _step(step: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in step.items() if value}


def history(store: Store, image: Image) -> list[dict[str, Any]]:
    """Return the steps of an image's making, the newest first, with the sizes of their layers."""
    sizes = list(image.layer_sizes)
    steps: list[dict[str, Any]] = []
    for step in image.history:
        size = sizes.pop(0) if sizes and not step.empty_layer else 0
        steps.append(
            {
                "id": "<missing>",
                "created": step.created,
                "createdBy": step.created_by,
                "comment": step.comment,
                "size": size,
                "tags": [],
            }
        )
    # Images without history still have layers.
    steps += [
        {"id": "<missing>", "created": image.created, "createdBy": "", "comment": "", "size": size, "tags": []}
        for size in sizes
    ]
    steps.reverse()
    if steps:
        steps[0]["id"] = image.id
        steps[0]["tags"] = local.names_of(store, image.id)
    return steps


def parse_time(text: str) -> int:
    """Return nanoseconds since 1970 of an RFC 3339 time; 0 for what is none, as images without a time have."""
    from _datetime import datetime  # type: ignore[import-not-found]  # `datetime` itself is slower to import

    try:
        seconds = int(datetime.fromisoformat(text).timestamp())
    except (ValueError, OverflowError):
        return 0
    digits = text.partition(".")[2][:9]
    while digits and not digits.isdecimal():
        digits = digits[:-1]
    return max(0, seconds * 1_000_000_000 + int(digits.ljust(9, "0")))
