"""Run the command: pyman's packages and its libraries go on the path of an interpreter that was started without `site`.

Compiled at every start, so it is short. The libraries come last: none of them can stand in for a module of ours or of
the standard library, and a directory at the end of the path costs nothing until something is wanted from it.
"""

import sys

if (
    not sys.flags.isolated or not sys.flags.no_site
):  # `python -m pyman`, with PYTHON* and the working directory in sight
    import os

    os.execv(sys.executable, [sys.executable, "-I", "-S", "-X", "utf8", __file__, *sys.argv[1:]])


def add_paths(private_dir: str) -> None:
    """Append to sys.path where engine, rootless and storage are, then what `site` would have found, unlooked at."""
    beside, _, _ = private_dir.rpartition("/")
    prefix = sys.executable.rpartition("/bin/")[0]
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    if beside.endswith("-packages"):
        sys.path += [private_dir, beside]
    else:
        sys.path.append(beside.removesuffix("/contrib/launcher"))
    if prefix in ("/usr", "/usr/local"):
        sys.path += [f"/usr/local/lib/{version}/dist-packages", "/usr/lib/python3/dist-packages"]
        sys.path += [f"{root}/{version}/site-packages" for root in ("/usr/local/lib", "/usr/lib", "/usr/lib64")]
    else:
        sys.path.append(f"{prefix}/lib/{version}/site-packages")


add_paths(__file__.rpartition("/")[0])

from engine.cli.main import main  # noqa: E402 -- not findable before

main(sys.argv[1:])
