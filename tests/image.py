"""Build the container image for CPUs and look at it: ``python -m tests.image [FOLDER]``.

Podman does both, as root; where the base image cannot be pulled, debootstrap makes a Debian with
Python 3.11 in its place (``apt-get install podman crun debootstrap``). Packages come as pip
of this machine is configured to get them; nothing of that stays in the image.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
BASE = "docker.io/library/python:3.11-slim"
TAG = "localhost/smartbkg-tf:cpu"
EXTRAS = "train,generate,onnx,distributed,search"
COMMIT = "0123456789abcdef0123456789abcdef01234567"

#: A user that the image does not know.
STRANGER = 12345


def missing() -> str | None:
    """Tell what an image cannot be built for here."""
    if os.geteuid() != 0:
        return "needs root"
    gone = [tool for tool in ("podman", "crun", "unshare") if shutil.which(tool) is None]
    return f"needs {', '.join(gone)}" if gone else None


class Engine:
    """Podman with images in a folder of its own, removed by `close`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.settings = folder / "storage.conf"
        self.settings.write_text(
            f'[storage]\ndriver = "overlay"\n'
            f'runroot = "{folder}/run"\ngraphroot = "{folder}/store"\n'
        )

    def __call__(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        # crun refuses machines with both kinds of control groups; hidden, the second does not harm.
        hide = 'umount -q /sys/fs/cgroup/unified; exec podman --cgroup-manager=cgroupfs "$@"'
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", hide, "sh", *words],
            env={**os.environ, "CONTAINERS_STORAGE_CONF": str(self.settings)},
            capture_output=True,
            text=True,
        )
        assert not check or done.returncode == 0, f"{words}\n{done.stdout[-4000:]}\n{done.stderr}"
        return done

    def base(self) -> None:
        """Get the base image, or make one like it."""
        for words in (("image", "exists"), ("pull", "--quiet")):
            if self(*words, BASE, check=False).returncode == 0:
                return
        root = self.folder / "base"
        mirrors = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
        uris = subprocess.run(mirrors, capture_output=True, text=True, check=True).stdout.split()
        subprocess.run(
            [
                *("debootstrap", "--variant=minbase", "--include=python3,python3-venv"),
                *("bookworm", str(root), *uris[:1]),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        # Not in the image of Python, and taken with a program that reads the archive of Debian.
        shutil.rmtree(root / "var" / "cache" / "apt")
        (root / "usr" / "local" / "bin" / "python").symlink_to("/usr/bin/python3")
        archive = self.folder / "base.tar"
        subprocess.run(["tar", "-C", str(root), "-cf", str(archive), "."], check=True)
        path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        self("import", "--change", f"ENV {path}", str(archive), BASE)
        archive.unlink()
        shutil.rmtree(root)

    def build(self) -> None:
        """Carry out the Dockerfile, step by step."""
        volumes = [f"--volume={path}:{path}:ro" for path in pip_folders()]
        self(
            *("build", "--isolation=chroot", "--format=docker", "--network=host", *volumes),
            *("--pull-never", f"--build-arg=EXTRAS={EXTRAS}", f"--build-arg=COMMIT={COMMIT}+dirty"),
            *(f"--tag={TAG}", str(ROOT)),
        )

    def run(
        self, work: Path, *words: str, options: tuple[str, ...] = (), check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run the image as a stranger who can write into `work` only; there is no network."""
        return self(
            *("run", "--rm", "--cgroups=disabled", "--network=none", "--read-only"),
            *("--ulimit=nofile=1024:1024", "--ulimit=nproc=10000:10000"),
            *(f"--user={STRANGER}:{STRANGER}", f"--volume={work}:/work", *options, TAG, *words),
            check=check,
        )

    def layers(self) -> list[tuple[int, str]]:
        """Give bytes and instruction of each layer, the first one first."""
        text = self("history", "--human=false", "--no-trunc", "--format=json", TAG).stdout
        return [(int(row["size"]), " ".join(row["CreatedBy"].split())) for row in json.loads(text)][
            ::-1
        ]

    def close(self) -> None:
        """Remove all images."""
        self("rmi", "--all", "--force", check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


@functools.cache
def pip_folders() -> tuple[str, ...]:
    """List the files and folders through which pip of this machine gets packages."""
    pip = [sys.executable, "-m", "pip", "config"]
    text = subprocess.run([*pip, "list"], capture_output=True, text=True, check=True).stdout
    named = re.findall(r"(?<![\w/:.])(?:file://)?(/[^\s'\"]+)", text)
    # The files of an index lie beside its folder `simple`.
    named = [path.rstrip("/").removesuffix("/simple") for path in named]
    places = ["/etc/pip.conf", "/etc/xdg/pip", "/etc/ssl/certs", *named]
    found = {Path(path) for path in places if os.path.exists(path)}
    return tuple(sorted(str(path) for path in found if found.isdisjoint(path.parents)))


def work_folder(path: Path) -> Path:
    """Make a folder that belongs to the stranger."""
    path.mkdir(parents=True)
    os.chown(path, STRANGER, STRANGER)
    return path


def main() -> None:
    """Build, then print the sizes of layers and the time of the first commands."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "image").resolve()
    engine = Engine(folder / "engine")
    start = time.monotonic()
    engine.base()
    engine.build()
    print(f"{time.monotonic() - start:8.0f} s      to build")
    for size, made_by in engine.layers():
        if size > 100_000:
            print(f"{size:12,} B  {made_by[:100]}")
    work = work_folder(folder / "work")
    chain = (
        ("train", "--help"),
        ("produce", "event_type=mixed", "n_events=20", "skim=all", "seed=2", "workers=1"),
        ("preprocess", "input=tables/*.h5", "workers=1"),
    )
    # Loops of another processor are not in the image.
    for title, other in (("as built", ""), ("compiled", "--env=NUMBA_CPU_FEATURES=+sse3")):
        for name, *words in chain:
            output = {"produce": "tables", "preprocess": "dataset"}.get(name)
            words += [f"output={output}", "overwrite=true"] if output else []
            start = time.monotonic()
            engine.run(work, name, *words, options=(other,) if other else ())
            print(f"{time.monotonic() - start:8.1f} s      {name}, loops {title}")


if __name__ == "__main__":
    main()
