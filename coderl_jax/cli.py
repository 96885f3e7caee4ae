"""What all commands share: flags from a dataclass, one line for a user's error, exit statuses.

0 done, 2 the user's error, 75 stopped early and worth repeating (EX_TEMPFAIL), 130 interrupted.
"""

import contextlib
import dataclasses
import io
import os
import pathlib
import re
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

from coderl_jax import hosts
from coderl_jax.files import UserError
from coderl_jax.stages import presets

Config = TypeVar("Config")


class Preempted(Exception):  # noqa: N818 - nothing went wrong
    """The run was told to stop and has saved its state; the same command goes on with it."""

    on_every_host = True  # see `hosts.side_by_side`


class Stopped(KeyboardInterrupt):
    """SIGTERM, where nothing saves and leaves because of it: what a command has made so far is whole, window by window."""


def run(config: type[Config], command: Callable[[Config], None], argv: Sequence[str] | None = None) -> None:
    """Parse flags into `config`, call `command`, and turn errors into an exit status."""
    keep_compiled_programs()
    before = signal.getsignal(signal.SIGTERM)
    try:
        signal.signal(signal.SIGTERM, _stop)
        settings = parse(config, argv)
        if getattr(settings, "hosts", None) and settings.hosts.distributed:
            _join()
        with hosts.side_by_side():
            _check_alike(settings)
            command(settings)
    except UserError as error:
        print(" ".join(str(error).splitlines()), file=sys.stderr)
        hosts.leave(error, 2)
    except Preempted as stop:
        print(f"stopped: {stop}; run the same command again to go on", file=sys.stderr)
        hosts.leave(stop, 75)
    except Stopped as stop:
        print("stopped; run the same command again to go on", file=sys.stderr)
        hosts.leave(stop, 75)
    except KeyboardInterrupt as interrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        hosts.leave(interrupt, 130)
    except MemoryError as error:
        why = str(error) or "no more"
        print(f"memory: expected room for what was asked, got none: {why}; ask for fewer programs or shorter texts", file=sys.stderr)
        hosts.leave(error, 2)
    except BrokenPipeError:  # the reader of our standard output went away (`| head`)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        if hosts.count() == 1:
            raise
        traceback.print_exc()
        hosts.leave(error, 1)
    finally:
        signal.signal(signal.SIGTERM, before)


def _stop(number: int, frame: Any) -> None:
    raise Stopped


def _join() -> None:
    try:
        hosts.start()
    except ValueError as error:
        why = str(error).splitlines()[0]
        if why.startswith("JAX_"):
            raise UserError(f"{why}; set all three variables on every host") from None
        rule = "a TPU pod, a SLURM or Open MPI job, or JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID"
        raise UserError(f"--distributed: expected {rule}, got {why}; start the command on every host") from None
    except RuntimeError as error:
        why = str(error).splitlines()[0]
        raise UserError(f"JAX_COORDINATOR_ADDRESS: expected a free port of the first host, got {why}; choose another port") from None


def _check_alike(settings: Any) -> None:
    """Raise UserError where hosts were started with different flags."""
    difference = hosts.unlike(_flags(settings))
    if difference:
        error = UserError(f"flags: expected the same on all hosts, got {difference}; start the same command on each")
        error.on_every_host = True
        raise error


def _flags(settings: Any) -> dict[str, str]:
    """Flags and their values, those of groups included."""
    found: dict[str, str] = {}
    for name, value in vars(settings).items():
        found |= _flags(value) if dataclasses.is_dataclass(value) else {f"--{name.replace('_', '-')}": str(value)}
    return found


def keep_compiled_programs() -> None:
    """Let JAX, imported later, keep compiled programs in a folder of the user's, unless the environment says where: a second start
    of a command then compiles nothing. Deleting the folder costs nothing but time."""
    folder = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "coderl_jax" / "jax"
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.92")  # of a GPU's memory; JAX alone would take 0.75


def parse(config: type[Config], argv: Sequence[str] | None = None) -> Config:
    """The configuration that the flags describe, those of a `--preset` included. `--show-preset NAME` prints one and exits.

    tyro is imported here, so that the library works on machines without it.

    Raises:
      UserError: an unknown flag, a missing one, or a value out of range.
    """
    import tyro

    for field in dataclasses.fields(config):
        if field.metadata.get("positional"):
            config.__annotations__[field.name] = Annotated[field.type, tyro.conf.Positional]
    stage = config.__name__.removesuffix("Config").lower()
    words, told = presets.with_preset(stage, sys.argv[1:] if argv is None else argv)
    if told:
        print("\n\n".join(told))
        sys.exit(0)
    about = config.__doc__ or ""
    if presets.names(stage):
        about += f" Presets: {', '.join(presets.names(stage))} (--preset NAME takes one, --show-preset NAME prints it; other flags win)."
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    prog = f"python -m {spec.name}" if spec else None
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            settings = (tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff)
            return tyro.cli(config, args=words, prog=prog, description=about, config=settings)
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        words = re.sub(r"[^\x20-\x7e]+", " ", " ".join(complaint.getvalue().splitlines()[1:]))  # tyro draws a box with a title
        words = " ".join(re.sub(r"\s*[-─]{3,}\s*|For full helptext.*$", " ", words).split())
        raise UserError(f"flags: expected those of --help, got: {words}; see --help") from None
