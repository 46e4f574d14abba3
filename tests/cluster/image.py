"""Writes a docker-archive of one program and the web's CA roots, the same bytes for the same input.

A static binary comes alone; one that is not brings the libraries and the loader that it names here.

usage: image.py OUT REF BINARY ENTRYPOINT [USER]
"""
import hashlib
import io
import json
import platform
import re
import subprocess
import sys
import tarfile
from pathlib import Path

ROOTS = Path("/etc/ssl/certs/ca-certificates.crt")
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def tar_of(files):
    """A tar of (name, content, mode), without times and owners, so that equal content has an equal digest."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content, mode in files:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def libraries(binary):
    """What the dynamic loader would load: nothing for a static binary."""
    listed = subprocess.run(["ldd", binary], capture_output=True, text=True, check=False).stdout
    return sorted(set(re.findall(r"(/[^ ]+) \(0x", listed)))


def main(out, ref, binary, entrypoint, user="65532:65532"):
    """Writes the archive."""
    files = [(entrypoint.lstrip("/"), Path(binary).read_bytes(), 0o755)]
    files += [(path.lstrip("/"), Path(path).read_bytes(), 0o755) for path in libraries(binary)]
    if ROOTS.exists():
        files.append((str(ROOTS).lstrip("/"), ROOTS.read_bytes(), 0o644))
    layer = tar_of(files)
    config = {
        "architecture": ARCHITECTURES[platform.machine()],
        "os": "linux",
        "config": {"Entrypoint": [entrypoint], "User": user, "Env": ["PATH=/"]},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]},
    }
    config = json.dumps(config).encode()
    name = hashlib.sha256(config).hexdigest() + ".json"
    manifest = json.dumps([{"Config": name, "RepoTags": [ref], "Layers": ["layer.tar"]}]).encode()
    parts = [("layer.tar", layer, 0o644), (name, config, 0o644), ("manifest.json", manifest, 0o644)]
    Path(out).write_bytes(tar_of(parts))


main(*sys.argv[1:])
