"""Writes the recipe of a layered image, `<name>-conf.json`: conf.py OUT, everything else from the environment."""

import json
import os
import sys
import tarfile

env = os.environ.get


def layers_of(base):
    """How many layers the base image brings: they count against the limit."""
    if not base:
        return 0
    with tarfile.open(base, "r:*") as tar:
        return len(json.load(tar.extractfile("manifest.json"))[0]["Layers"])


def plan(graph, limit):
    """One layer a path, what most others need first; what is over the limit shares the last layer."""
    by_path = {info["path"]: info for info in graph}
    users = {path: 0 for path in by_path}
    for path in by_path:
        seen, todo = {path}, [path]
        while todo:
            for reference in by_path[todo.pop()]["references"]:
                if reference in by_path and reference not in seen:
                    seen.add(reference)
                    todo.append(reference)
        for needed in seen:
            users[needed] += 1
    ordered = sorted(by_path, key=lambda path: (-users[path], by_path[path]["narSize"], path))
    if len(ordered) <= limit:
        return [[path] for path in ordered]
    return [[path] for path in ordered[: limit - 1]] + [sorted(ordered[limit - 1 :])]


base = env("fromImage") or None
with open(env("graph")) as file:
    graph = json.load(file)
hidden = set(env("exclude", "").split())
wanted = [info for info in graph if info["path"] not in hidden] if env("storePaths") else []
available = int(env("layers")) - 1 - layers_of(base)
if available < 1:
    sys.exit(f"maxLayers = {env('layers')} leaves no layer for store paths")
with open(env("baseJson")) as file:
    image = json.load(file)

out = sys.argv[1]
tag = env("imageTag") or os.path.basename(out).split("-")[0]
conf = {
    "architecture": image["architecture"],
    "config": image["config"],
    "os": image["os"],
    "store_dir": "/nix/store",
    "from_image": base,
    "store_layers": plan(wanted, available),
    "customisation_layer": env("customisationLayer"),
    "repo_tag": f"{env('imageName')}:{tag}",
    "created": env("created"),
    "mtime": env("mtime"),
    "uid": env("owner"),
    "gid": env("group"),
    "uname": env("uname"),
    "gname": env("gname"),
}
with open(out, "w") as file:
    json.dump(conf, file, indent=2)
    file.write("\n")
