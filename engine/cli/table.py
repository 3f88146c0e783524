"""Which module carries out which verb. Imports nothing: every command reads it."""

from __future__ import annotations

# verb -> (module, function, summary)
VERBS: dict[str, tuple[str, str, str]] = {
    "__complete": ("engine.cli.completion", "complete", "Answer a shell that completes a command line"),
    "attach": ("engine.cli.lifecycle", "attach", "Attach to a running container"),
    "completion": ("engine.cli.completion", "completion", "Print the completion script of a shell"),
    "container exists": ("engine.cli.containers", "exists", "Tell by the exit status whether a container exists"),
    "container inspect": ("engine.cli.inspect", "inspect_containers", "Show everything about containers"),
    "create": ("engine.cli.run", "create", "Create a container without starting it"),
    "exec": ("engine.cli.lifecycle", "exec_", "Run a command in a running container"),
    "help": ("engine.cli.help", "help_", "Show the help of a command"),
    "history": ("engine.cli.images", "history", "Show how an image was made"),
    "image exists": ("engine.cli.images", "exists", "Tell by the exit status whether an image exists"),
    "image inspect": ("engine.cli.inspect", "inspect_images", "Show everything about images"),
    "image prune": ("engine.cli.images", "prune", "Remove the images that no container uses"),
    "images": ("engine.cli.images", "images", "List images"),
    "import": ("engine.cli.images", "import_", "Make an image from a root file system archive"),
    "info": ("engine.cli.system", "info", "Show what pyman found on this machine"),
    "inspect": ("engine.cli.inspect", "inspect", "Show everything about containers, images or volumes"),
    "kill": ("engine.cli.lifecycle", "kill", "Send a signal to running containers"),
    "load": ("engine.cli.images", "load", "Load images from an archive"),
    "logs": ("engine.cli.logs", "logs", "Show what a container has written"),
    "port": ("engine.cli.containers", "port", "List the published ports of containers"),
    "ps": ("engine.cli.containers", "ps", "List containers"),
    "pull": ("engine.cli.images", "pull", "Pull images from a registry"),
    "restart": ("engine.cli.lifecycle", "restart", "Stop containers and start them again"),
    "rm": ("engine.cli.lifecycle", "rm", "Remove containers"),
    "rmi": ("engine.cli.images", "rmi", "Remove images"),
    "run": ("engine.cli.run", "run", "Run a command in a new container"),
    "start": ("engine.cli.lifecycle", "start", "Start containers"),
    "stop": ("engine.cli.lifecycle", "stop", "Stop running containers"),
    "tag": ("engine.cli.images", "tag", "Give an image another name"),
    "unshare": ("engine.cli.lifecycle", "unshare", "Run a command as root of your own user namespace"),
    "untag": ("engine.cli.images", "untag", "Take names from an image"),
    "version": ("engine.cli.system", "version", "Show the version of pyman"),
    "volume create": ("engine.cli.volumes", "create", "Create volumes"),
    "volume exists": ("engine.cli.volumes", "exists", "Tell by the exit status whether a volume exists"),
    "volume inspect": ("engine.cli.volumes", "inspect", "Show everything about volumes"),
    "volume ls": ("engine.cli.volumes", "ls", "List volumes"),
    "volume prune": ("engine.cli.volumes", "prune", "Remove the volumes that no container uses"),
    "volume rm": ("engine.cli.volumes", "rm", "Remove volumes"),
    "wait": ("engine.cli.lifecycle", "wait", "Wait until containers end and print their exit statuses"),
}

# Verbs that start a container: its monitor is forked before their options are parsed.
STARTING = frozenset(("run", "start", "restart"))

GROUPS: dict[str, str] = {
    "container": "Work with containers",
    "image": "Work with images",
    "system": "Work with pyman itself",
    "volume": "Work with volumes",
}

_CONTAINER = "attach create exec kill logs port ps restart rm run start stop wait"
_IMAGE = "history import load pull tag untag"

# other name -> verb
ALIASES: dict[str, str] = {
    **{f"container {verb}": verb for verb in _CONTAINER.split(" ")},
    **{f"image {verb}": verb for verb in _IMAGE.split(" ")},
    "container list": "ps",
    "container ls": "ps",
    "image list": "images",
    "image ls": "images",
    "image remove": "rmi",
    "image rm": "rmi",
    "list": "ps",
    "ls": "ps",
    "system info": "info",
    "volume list": "volume ls",
    "volume remove": "volume rm",
}

# Commands of Podman that do not exist here, with the reason.
REFUSED: dict[str, str] = {
    "machine": "pyman runs on Linux only, no virtual machine is needed",
    "farm": "builds on remote machines are not supported",
}
