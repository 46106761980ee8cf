"""Writes a layered image as a docker-archive on stdout: stream CONF [--repo_tag REF].

Members come in this order: base layers (as they are in the base), store layers, the customisation layer, the config,
`manifest.json`. The history's comments name each layer's store paths; for a base layer, its member in the base.
"""

import argparse
import hashlib
import io
import json
import os
import pathlib
import sys
import tarfile
import threading
from datetime import datetime, timezone


class Counter:
    """A sink that hashes and counts, and keeps nothing."""

    def __init__(self):
        self.hash, self.size = hashlib.sha256(), 0

    def write(self, data):
        self.hash.update(data)
        self.size += len(data)
        return len(data)


def write_store_layer(sink, paths, conf, mtime):
    """A layer of store paths: PAX headers, absolute names, one owner and one time for everything."""

    def own(info):
        info.mtime, info.uid, info.gid = int(mtime.timestamp()), int(conf["uid"]), int(conf["gid"])
        info.uname, info.gname = conf["uname"], conf["gname"]
        return info

    def directory(name):
        info = tarfile.TarInfo(name)
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        return own(info)

    with tarfile.open(fileobj=sink, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(directory("/nix"))
        tar.addfile(directory("/nix/store"))
        for path in map(pathlib.Path, paths):
            tree = [path] if path.is_symlink() else [path, *sorted(path.rglob("*"))]
            for entry in tree:
                # A fresh look at the file each time: tarfile would make hard links of files with one inode.
                tar.inodes = {}
                info = own(tar.gettarinfo(str(entry)))
                info.name = str(entry)
                if info.isreg():
                    with open(entry, "rb") as file:
                        tar.addfile(info, file)
                else:
                    tar.addfile(info)


def pipe_store_layer(writer, paths, conf, mtime):
    with open(writer, "wb") as sink:
        write_store_layer(sink, paths, conf, mtime)


class Archive:
    def __init__(self, out, mtime):
        self.tar = tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT)
        self.mtime = int(mtime.timestamp())

    def add(self, name, size, file, mode=0o644):
        info = tarfile.TarInfo(name)
        info.size, info.mtime, info.mode = size, self.mtime, mode
        self.tar.addfile(info, file)

    def add_bytes(self, name, data):
        self.add(name, len(data), io.BytesIO(data))


def parse_time(text):
    return datetime.now(tz=timezone.utc) if text == "now" else datetime.fromisoformat(text)


def merge_env(base, own):
    """Later values win, each name keeps the place where it came first."""
    return list({item.split("=", 1)[0]: item for item in base + own}.values())


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("conf")
    arguments.add_argument("--repo_tag", "-t")
    arguments = arguments.parse_args()
    with open(arguments.conf) as file:
        conf = json.load(file)
    created, mtime = parse_time(conf["created"]), parse_time(conf["mtime"])
    archive = Archive(sys.stdout.buffer, mtime)
    base_config = None
    # (path in the archive, digest, what it was made from)
    layers = []

    def say(text):
        print(text, file=sys.stderr)

    if conf["from_image"]:
        with tarfile.open(conf["from_image"], "r:*") as base:
            manifest = json.load(base.extractfile("manifest.json"))[0]
            base_config = json.load(base.extractfile(manifest["Config"]))
            for number, (member, diff_id) in enumerate(
                zip(manifest["Layers"], base_config["rootfs"]["diff_ids"], strict=True), 1
            ):
                say(f"Adding base layer {number} from {member}")
                info = base.getmember(member)
                archive.tar.addfile(info, base.extractfile(info))
                layers.append((member, diff_id.removeprefix("sha256:"), [member]))
    else:
        say("No 'fromImage' provided")

    for number, paths in enumerate(conf["store_layers"], len(layers) + 1):
        say(f"Creating layer {number} from paths: {paths}")
        first = Counter()
        write_store_layer(first, paths, conf, mtime)
        checksum = first.hash.hexdigest()
        # The name comes before the bytes, so they are made twice instead of kept.
        reader, writer = os.pipe()
        with open(reader, "rb") as source:
            again = threading.Thread(target=pipe_store_layer, args=(writer, paths, conf, mtime))
            again.start()
            archive.add(f"{checksum}/layer.tar", first.size, source)
            again.join()
        layers.append((f"{checksum}/layer.tar", checksum, paths))

    say(f"Creating layer {len(layers) + 1} with customisation...")
    customisation = pathlib.Path(conf["customisation_layer"])
    checksum = (customisation / "checksum").read_text().strip()
    with open(customisation / "layer.tar", "rb") as file:
        archive.add(f"{checksum}/layer.tar", (customisation / "layer.tar").stat().st_size, file, mode=0o444)
    layers.append((f"{checksum}/layer.tar", checksum, [str(customisation)]))

    say("Adding manifests...")
    config = conf["config"]
    if base_config:
        config = dict(config or {})
        environment = merge_env((base_config.get("config") or {}).get("Env") or [], config.get("Env") or [])
        if environment:
            config["Env"] = environment
    image = {
        "created": created.isoformat(),
        "architecture": conf["architecture"],
        "os": "linux",
        "config": config,
        "rootfs": {"diff_ids": [f"sha256:{checksum}" for _, checksum, _ in layers], "type": "layers"},
        "history": [
            {"created": created.isoformat(), "comment": f"store paths: {made_from}"} for _, _, made_from in layers
        ],
    }
    image_bytes = json.dumps(image, indent=4).encode()
    config_name = f"{hashlib.sha256(image_bytes).hexdigest()}.json"
    archive.add_bytes(config_name, image_bytes)
    manifest = [
        {
            "Config": config_name,
            "RepoTags": [arguments.repo_tag or conf["repo_tag"]],
            "Layers": [path for path, _, _ in layers],
        }
    ]
    archive.add_bytes("manifest.json", json.dumps(manifest, indent=4).encode())
    archive.tar.close()
    say("Done.")


main()
