"""Files: rows in, rows out, and outputs that appear only when they are complete.

Every output is written under a temporary name (`NAME.partial`) and renamed at the end. Beside a file, or inside a run
folder, stands a manifest that says how it was made; the same command finds its own partial output by that manifest.
"""

import contextlib
import dataclasses
import datetime
import fcntl
import gzip
import hashlib
import importlib.metadata
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from coderl_jax import hosts


class UserError(Exception):
    """Something that the user can mend: commands print it as one line and end with exit status 2.

    Write it as `what: expected <rule>, got <value>; <what to do>`.
    """


def shown(value: Any, limit: int = 60) -> str:
    """A value for an error message: repr on one line, cut to `limit` characters."""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def existing(path: str | os.PathLike, what: str) -> pathlib.Path:
    """The path, or UserError where nothing is there. An empty name, as of a variable that is not set, is not this folder."""
    found = pathlib.Path(path)
    if not os.fspath(path) or not found.exists():
        raise UserError(f"{what}: expected an existing path, got {os.fspath(path)!r}; check the name")
    return found


def from_hub(name: str, what: str, patterns: Sequence[str]) -> pathlib.Path:
    """The folder of a Hugging Face repository's files whose names match, fetched or kept from before.

    Raises:
      UserError: the hub or the repository is out of reach.
    """
    import huggingface_hub

    try:
        return pathlib.Path(huggingface_hub.snapshot_download(name, allow_patterns=list(patterns)))
    except (OSError, ValueError) as error:  # offline, no such repository, no access, no valid id
        why = str(error).strip().splitlines()[0]
        raise UserError(
            f"{name}: {what}: expected a folder here or a reachable hub id, got {why}; check the name and the network"
        ) from None


def read_jsonl(path: str | os.PathLike) -> Iterator[tuple[str, dict[str, Any]]]:
    """The JSON objects of a file (gzip where the name ends in .gz), each with its place `file:line`.

    Blank lines are passed over.

    Raises:
      UserError: no such file, bad UTF-8, a line that is no JSON object.
    """
    path = existing(path, "file")
    opener = gzip.open if path.suffix == ".gz" else open
    number = 0
    try:
        with opener(path, "rb") as file:
            for number, raw in enumerate(file, start=1):
                place = f"{path}:{number}"
                try:
                    line = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
                    row = json.loads(line) if line else None
                except UnicodeDecodeError as error:
                    raise UserError(f"{place}: line: expected UTF-8, got byte {raw[error.start]:#04x}; re-encode the file") from None
                except (ValueError, RecursionError) as error:  # an int of thousands of digits is a plain ValueError
                    why = "nesting too deep" if isinstance(error, RecursionError) else getattr(error, "msg", error)
                    raise UserError(f"{place}: line: expected a JSON object, got {shown(line)} ({why}); mend the line") from None
                if line and not isinstance(row, dict):
                    raise UserError(f"{place}: line: expected a JSON object, got {shown(row)}; mend the line")
                if line:
                    yield place, row
    except (OSError, EOFError) as error:  # a folder, no permission, a broken gzip stream
        place, why = (path, reason(error)) if getattr(error, "errno", None) else (f"{path}:{number + 1}", error)
        raise UserError(f"{place}: file: expected a readable file, got {why}; check it") from None


def to_json_line(row: dict[str, Any]) -> str:
    """One line of JSON, end of line included. Lone surrogates are escaped, so the file is always UTF-8."""
    return json.dumps(row, ensure_ascii=not _encodable(row), allow_nan=False) + "\n"


def _encodable(row: dict[str, Any]) -> bool:
    try:
        json.dumps(row, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """A temporary path that takes the place of `path` when the block ends well, and vanishes when it does not."""
    path = pathlib.Path(path)
    temporary = path.with_name(path.name + f".{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"{path}: output: expected a writable place, got {reason(error)}; choose another") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def reason(error: OSError) -> str:
    """What the system says, or what it means where it says little."""
    if isinstance(error, IsADirectoryError):
        return "a folder"
    return "a file where a folder is needed" if isinstance(error, FileExistsError | NotADirectoryError) else error.strerror or str(error)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write a text file at once or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Write indented JSON at once or not at all."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_jsonl(path: str | os.PathLike, rows: Iterable[dict[str, Any]]) -> None:
    """Write JSON lines (gzip where the name ends in .gz) at once or not at all."""
    path = pathlib.Path(path)
    with replacing(path) as temporary:
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(temporary, "wt", encoding="utf-8") as file:
            file.writelines(to_json_line(row) for row in rows)


def read_json(path: str | os.PathLike) -> Any:
    """The JSON value of a file, or UserError."""
    path = existing(path, "file")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{path}: file: expected JSON, got {error}; check it") from None


def sha256(path: str | os.PathLike) -> str:
    """Hash of a file, or of the names and hashes of all files in a folder."""
    path = pathlib.Path(path)
    digest = hashlib.sha256()
    if path.is_dir():
        for child in sorted(p for p in path.rglob("*") if p.is_file()):
            digest.update(f"{child.relative_to(path)}\0{sha256(child)}\n".encode())
    else:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def plain(value: Any) -> Any:
    """A dataclass, path or tuple as JSON values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [plain(v) for v in value]
    return str(value) if isinstance(value, pathlib.Path) else value


def describe_run(settings: Any, inputs: dict[str, str]) -> dict[str, Any]:
    """A manifest: command, commit, versions, machine, settings, and the hash of every input.

    Args:
      settings: the stage's configuration (a dataclass or a dict).
      inputs: name -> path, or problem source NAME:PATH#SPLIT; what exists on disk is hashed, the rest is kept as text.
    """
    versions = {}
    for package in ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "transformers", "tokenizers", "torch"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {
        "command": _command(),
        "commit": _commit(),
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "versions": versions,
        "settings": plain(settings),
        "inputs": {name: {"name": str(path), "sha256": _hash_of_input(str(path))} for name, path in inputs.items()},
    }


def _hash_of_input(name: str) -> str | None:
    path = next((path for path in (name, name.partition("#")[0].partition(":")[2]) if path and os.path.exists(path)), None)
    return None if path is None else sha256(path)


def _command() -> list[str]:
    """What was typed; a module that `python -m` runs goes by its name, not by its path."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    run_by_name = spec is not None and spec.origin == sys.argv[0]
    program = ["python", "-m", spec.name] if run_by_name else [pathlib.Path(sys.argv[0]).name]
    return [*program, *sys.argv[1:]]


def _commit() -> str | None:
    """The checkout's commit, `+changes` where the tree differs from it; None outside a checkout."""
    here = pathlib.Path(__file__).parent
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, timeout=10)
        dirty = subprocess.run(["git", "status", "--porcelain", "-uno"], cwd=here, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if head.returncode != 0:
        return None
    return head.stdout.strip() + ("+changes" if dirty.stdout.strip() else "")


@dataclasses.dataclass(frozen=True)
class Output:
    """A file or run folder under way. Write to `partial`, then `finish()`.

    Attributes:
      path: the final name.
      partial: the temporary name; kept when the command is interrupted, found again when it is repeated.
      finished: whether `path` is already there, made with the same settings: nothing is left to do.
    """

    path: pathlib.Path
    partial: pathlib.Path
    finished: bool

    def finish(self, extra: dict[str, Any] | None = None) -> None:
        """Give the output its final name, first adding `extra` to its manifest. Of several hosts, when all are done, the first does."""
        hosts.meet()
        hosts.on_first(lambda: self._finish(extra))

    def _finish(self, extra: dict[str, Any] | None) -> None:
        manifest_path = _manifest_path(self.partial, self.path)
        manifest = json.loads(manifest_path.read_text(encoding="utf-8"))
        finished = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        write_json(manifest_path, {**manifest, "finished": finished, **(extra or {})})
        os.replace(self.partial, self.path)
        if (lock := _locked.pop(self.path.absolute(), None)) is not None:
            lock.close()
        print(f"wrote {self.path}", file=sys.stderr)


PLACES = set(
    "out hosts mesh.data mesh.fsdp mesh.tensor mesh.remat mesh.unroll judging.workers judging.dask judging.cache readers tracking".split()
)
"""Settings of where and how fast, which do not change what is made (a dot leads into a group)."""


def open_output(path: str, settings: Any, inputs: dict[str, str], *, folder: bool) -> Output:
    """Start, resume or recognise an output; of several hosts the first does, in a folder that all of them see.

    Args:
      path: the final name of the file or folder.
      settings: the stage's configuration; two outputs are the same work when settings, but for `PLACES`, and input hashes agree.
      inputs: see `describe_run`.
      folder: True for a run folder (manifest and config inside), False for a file (manifest beside it).

    Raises:
      UserError: the place is not writable, or holds something made with other settings.
    """
    return hosts.on_first(lambda: _open_output(path, settings, inputs, folder))


def _open_output(path: str, settings: Any, inputs: dict[str, str], folder: bool) -> Output:
    final = pathlib.Path(path)
    if not final.name:
        raise UserError(f"--out: expected a name, got {shown(path)}; say what it is to be called")
    partial = final.with_name(final.name + ".partial")
    manifest = describe_run(settings, inputs)
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(final.parent, os.W_OK):
            raise PermissionError(13, "Permission denied")
        if final.exists():
            _check_same_work(final, final, manifest)
            return Output(final, partial, finished=True)
        if partial.exists():
            _lock(partial, final)
            if not _holds_nothing(partial):
                _check_same_work(partial, final, manifest)
                return Output(final, partial, finished=False)
            remove(partial)  # of a command that was refused before it did anything
        remove(windows_folder(partial))
        if folder:
            partial.mkdir()
            write_json(partial / "config.json", manifest["settings"])
        else:
            partial.touch()
        write_json(_manifest_path(partial, final), manifest)
        _lock(partial, final)
    except OSError as error:
        raise UserError(f"{path}: --out: expected a writable place, got {reason(error)}; choose another") from None
    return Output(final, partial, finished=False)


_locked: dict[pathlib.Path, Any] = {}


def _lock(partial: pathlib.Path, final: pathlib.Path) -> None:
    """Keep other processes from the output until it is finished or this process ends, however that ends."""
    manifest = _manifest_path(partial, final)
    if not manifest.exists():
        return
    file = manifest.open("rb")
    if (earlier := _locked.pop(final.absolute(), None)) is not None:
        earlier.close()  # of an interrupted attempt of this process
    _locked[final.absolute()] = file
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(f"{partial}: --out: expected no other command at work on it, got one; wait for its end") from None
    except OSError:  # a store without locks
        pass


def _manifest_path(found: pathlib.Path, final: pathlib.Path) -> pathlib.Path:
    return found / "manifest.json" if found.is_dir() else final.with_name(final.name + ".manifest.json")


def windows_folder(partial: pathlib.Path) -> pathlib.Path:
    """Where the finished parts of a file under way are (see `coderl_jax.windows`)."""
    return partial.with_name(partial.name + ".windows")


def _holds_nothing(partial: pathlib.Path) -> bool:
    """Whether an output was begun and nothing has been written to it, not even how it is made where there was no room for that."""
    files = [path for place in (partial, windows_folder(partial)) for path in (place, *place.rglob("*")) if path.is_file()]
    return not any(path.stat().st_size for path in files if path.name not in ("manifest.json", "config.json"))


def _check_same_work(found: pathlib.Path, final: pathlib.Path, new: dict[str, Any]) -> None:
    path = _manifest_path(found, final)
    if not path.exists():
        raise UserError(
            f"{found}: --out: expected a new name or this command's own output, got something without a manifest; choose another name"
        )
    old = read_json(path)
    for part, flat in (("settings", _flat), ("inputs", dict)):
        ours, theirs = flat(new[part]), flat(old[part])
        for name in sorted(ours.keys() | theirs.keys()):
            before, now = theirs.get(name), ours.get(name)
            if before != now and not {name, name.split(".")[0]} & PLACES:
                if part == "settings":
                    name = f"--{name.split('.')[-1].replace('_', '-')}"  # its flag
                else:
                    before, now = ((v or {}).get("sha256") or (v or {}).get("name") for v in (before, now))
                raise UserError(
                    f"{found}: {name}: expected {shown(before)} as when it was made, got {shown(now)}; choose another --out or delete it"
                )


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings with those of groups under dotted names."""
    return {
        name if inner is None else f"{name}.{inner}": value
        for name, group in settings.items()
        for inner, value in (group.items() if isinstance(group, dict) else [(None, group)])
    }


def remove(path: pathlib.Path) -> None:
    """Delete a file or folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
