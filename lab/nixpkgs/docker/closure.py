"""A builder of its own: writes what Nix knows of a closure, [{path, narSize, references}], sorted by path."""

import json
import os

with open(os.environ["NIX_ATTRS_JSON_FILE"]) as attrs_file:
    attrs = json.load(attrs_file)
paths = [
    {"path": info["path"], "narSize": info["narSize"], "references": sorted(info["references"])}
    for info in attrs["graph"]
]
paths.sort(key=lambda info: info["path"])
with open(attrs["outputs"]["out"], "w") as out:
    json.dump(paths, out, indent=1)
