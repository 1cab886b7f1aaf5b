"""The packages of npm that a page runs on: which versions, which files of them, and where they come from.

A package is a tarball, as `npm pack` leaves it, in a folder: Trimtab's own, into which npm fetches it once, or one
that the user names. Its sha512 is that of the version as it was published, or nothing is read of it. Where npm
finds packages is its own configuration. Leaves out what the files do (page/).
"""

import base64
import gzip
import hashlib
import shlex
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trimtab.errors import ArtifactError, Message, message
from trimtab.home import cache_folder

_LONGEST_SECONDS = 600
_BLOCK = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class NpmPackage:
    """`sha512` as the registry has it, in base64; `files`: (its path in the package, its name in a page);
    `packed`: names that are written with gzip, and which the page unpacks."""

    name: str
    version: str
    sha512: str
    size_bytes: int
    files: tuple[tuple[str, str], ...]
    packed: tuple[str, ...] = ()

    @property
    def tarball(self) -> str:
        """As npm calls it."""
        return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}.tgz"

    @property
    def wanted(self) -> str:
        return f"{self.name}@{self.version}"


RUNTIME = (
    NpmPackage(
        name="onnxruntime-web",
        version="1.30.0",
        sha512="q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ==",
        size_bytes=33106585,
        files=(
            ("dist/ort.wasm.bundle.min.mjs", "ort.js"),
            ("dist/ort-wasm-simd-threaded.wasm", "ort.wasm.bin"),
        ),
        packed=("ort.wasm.bin",),
    ),
    NpmPackage(
        name="@huggingface/tokenizers",
        version="0.2.0",
        sha512="LidMHe1FpcSYH4vcSjXooda34pC0M8m1gmDOv7SQi6Iv+ib1zX7J3sHBCC9/3FPCkn2k1b55FneVqMRxrr99pg==",
        size_bytes=87011,
        files=(("dist/tokenizers.min.mjs", "tokenizers.js"), ("LICENSE", "tokenizers.LICENSE.txt")),
    ),
)
"""ONNX Runtime, in WebAssembly alone, and the tokenizers of transformers.js alone: of all builds the smallest."""


def npm_folder() -> Path:
    """Where npm fetches packages to: `npm` in Trimtab's own folder. It need not be there."""
    return cache_folder() / "npm"


def missing(folder: Path) -> tuple[NpmPackage, ...]:
    """The packages that are missing in `folder`."""
    return tuple(package for package in RUNTIME if not (folder / package.tarball).is_file())


def fetch(folder: Path) -> Iterator[Message]:
    """Let npm fetch what is missing in `folder`, saying so before. Raises ArtifactError TT-C501 where there is no
    npm, TT-C502 where it fails, TT-C503 for a package that is not what was published; OSError."""
    for package in missing(folder):
        npm = shutil.which("npm")
        if npm is None:
            raise ArtifactError("TT-C501", package=package.wanted, folder=str(folder), command=command())
        yield message("TT-C510", package=package.wanted, size=package.size_bytes, folder=str(folder))
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".npm-", dir=folder) as beside:
            _pack(npm, package, Path(beside))
            tarball = Path(beside) / package.tarball
            _require_published(package, tarball)
            tarball.replace(folder / package.tarball)


def command() -> str:
    """What fetches all of them, wherever there is npm."""
    return shlex.join(["npm", "pack", *(package.wanted for package in RUNTIME)])


def write_files(source: Path, folder: Path) -> None:
    """Copy what a page needs out of the tarballs in `source`. Raises ArtifactError TT-C504 where one is missing,
    TT-C503 where one is not what was published; OSError."""
    for package in RUNTIME:
        tarball = source / package.tarball
        if not tarball.is_file():
            raise ArtifactError("TT-C504", folder=str(source), file=package.tarball, command=command())
        _require_published(package, tarball)
        with tarfile.open(tarball) as archive:
            for path, name in package.files:
                member = archive.extractfile(f"package/{path}")
                assert member is not None, f"{package.wanted} has no {path}"
                content = member.read()
                packed = gzip.compress(content, mtime=0) if name in package.packed else content
                (folder / name).write_bytes(packed)


def _pack(npm: str, package: NpmPackage, folder: Path) -> None:
    """Run in an empty folder: what lies in the user's own has no say."""
    words = [npm, "pack", package.wanted, "--ignore-scripts", "--silent"]
    try:
        done = subprocess.run(
            words, cwd=folder, capture_output=True, text=True, timeout=_LONGEST_SECONDS, check=False
        )
        said = done.stderr if done.returncode or not (folder / package.tarball).is_file() else None
    except (OSError, subprocess.TimeoutExpired) as error:
        said = str(error)
    if said is not None:
        why = " ".join(said.split())[:300] or "-"
        raise ArtifactError("TT-C502", package=package.wanted, why=why, command=command())


def _require_published(package: NpmPackage, tarball: Path) -> None:
    digest = hashlib.sha512()
    with tarball.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    if base64.b64encode(digest.digest()).decode() != package.sha512:
        raise ArtifactError("TT-C503", file=str(tarball), package=package.wanted, command=command())
