"""One way to run every command: compose, check, run, and end with the right exit code.

Exit codes: 0 done, 1 a user's mistake (one clear message), 2 wrong usage, 3 a fault of
ours. The configuration is composed and checked before anything heavy is imported.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from smartbkg_tf.errors import ConfigurationError, UserError, did_you_mean, missing_package
from smartbkg_tf.runtime.overrides import (
    Overrides,
    as_written,
    jobs_of,
    search_path,
    sweep_overrides,
)
from smartbkg_tf.settings.base import CommandSettings, validate
from smartbkg_tf.settings.plugins import filled, with_defaults

S = TypeVar("S", bound=CommandSettings)

#: So many jobs of a sweep are checked in advance.
_CHECKED_JOBS = 200


def configuration_directory() -> Path:
    """Find the folder ``conf``: inside the package for a wheel, beside it for a checkout."""
    package = Path(__file__).resolve().parent.parent
    for candidate in (package / "conf", package.parent / "conf"):
        if (candidate / "train.yaml").is_file():
            return candidate
    raise ConfigurationError(
        "the configuration folder 'conf' is missing",
        where=package,
        next_step="install smartbkg_tf again",
    )


def compose(name: str, overrides: Sequence[str] = (), directory: str | None = None) -> DictConfig:
    """Compose the configuration of a command as its command line would, without Hydra's own node.

    `directory` is a further folder of configuration files (``--config-dir``). Defaults are in the
    settings classes, which refuse unknown keys: see `compose_settings`. `ConfigurationError` for an
    unknown group or choice names the nearest known one.
    """
    return _compose(name, overrides, directory)[0]


def _compose(
    name: str, overrides: Sequence[str], directory: str | None
) -> tuple[DictConfig, dict[str, Any]]:
    """Compose a configuration; also give the chosen file, or files, of every group."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.plugins import Plugins
    from hydra.errors import HydraException

    GlobalHydra.instance().clear()
    Plugins.instance()
    texts = Overrides(_folders(overrides, directory)).for_hydra(overrides, sweep=True)
    if directory is not None:
        texts.append(f"hydra.searchpath=[file://{Path(directory).resolve()}]")
    try:
        with initialize_config_dir(str(configuration_directory()), version_base="1.3"):
            config = hydra_compose(name, texts, return_hydra_config=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise _translate(error) from error
    assert isinstance(config, DictConfig)
    every = OmegaConf.to_container(config.hydra.runtime.choices)
    assert isinstance(every, dict)
    choices = {str(k): v for k, v in every.items() if not str(k).startswith("hydra/")}
    own = [str(key) for key in config if key != "hydra"]
    return OmegaConf.masked_copy(config, own), choices


def _folders(overrides: Sequence[str], directory: str | None) -> list[Path]:
    """List the folders of configuration files."""
    if directory is not None and not os.path.isdir(directory):
        raise ConfigurationError("--config-dir: there is no such folder", where=directory)
    own = [] if directory is None else [Path(directory)]
    return [configuration_directory(), *own, *search_path(overrides)]


def _config_loader(folders: Sequence[Path]) -> Any:
    """Make Hydra's loader of configuration files, for what ``glob`` in a sweep matches."""
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra._internal.utils import create_config_search_path

    places = create_config_search_path(str(folders[0]))
    for folder in folders[1:]:
        places.append("user", f"file://{folder.resolve()}")
    return ConfigLoaderImpl(places)


def compose_settings(
    name: str, cls: type[S], overrides: Sequence[str] = (), directory: str | None = None
) -> S:
    """Compose the configuration of a command and check it; all problems are reported at once."""
    return to_settings(cls, compose(name, overrides, directory))


def composed_values(config: DictConfig) -> dict[str, Any]:
    """Give the values of a composed configuration, resolved, without Hydra's own node."""
    try:
        values = OmegaConf.to_container(config, resolve=True, throw_on_missing=False)
    except OmegaConfBaseException as error:
        raise ConfigurationError(str(error).splitlines()[0]) from error
    assert isinstance(values, dict)
    return _without_missing({str(key): value for key, value in values.items()})


def to_settings(cls: type[S], config: DictConfig) -> S:
    """Check a composed configuration; all problems are reported at once."""
    return validate(cls, composed_values(config))


def _without_missing(values: dict[str, Any]) -> dict[str, Any]:
    """Leave out '???' so that the check reports the key as missing."""
    return {
        key: _without_missing(value) if isinstance(value, dict) else value
        for key, value in values.items()
        if value != "???"
    }


@dataclass(frozen=True)
class Command(Generic[S]):
    """The entry point of a command; calling it reads ``sys.argv`` and runs.

    ``conf/<name>.yaml`` is its configuration, which `settings_class` checks. `run` takes the
    settings and does the work. The text of keys in `lists` may hold several values with commas
    between; `aliases` are other names of keys.
    """

    name: str
    settings_class: type[S]
    run: Callable[[S], Any]
    lists: tuple[str, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)

    def overrides(
        self, texts: Sequence[str], directory: str | None = None, *, sweep: bool = False
    ) -> list[str]:
        """Translate a user's overrides into the syntax of Hydra."""
        reading = Overrides(_folders(texts, directory), self.lists, self.aliases)
        return reading.for_hydra(texts, sweep=sweep)

    def __call__(self) -> None:
        """Check the configuration, then run the job, or each job of a sweep."""
        _end_cleanly_when_terminated()
        debug = "debug=true" in (text.lower() for text in sys.argv[1:])
        guarded(lambda: self._run(sys.argv[1:], debug=debug), debug=debug)

    def _run(self, argv: list[str], *, debug: bool) -> None:
        from hydra._internal.utils import get_args_parser

        arguments = get_args_parser().parse_args(argv)
        directory = arguments.config_dir
        own_files = arguments.config_name or arguments.config_path
        if arguments.help:
            print(self.help(arguments.overrides, directory))
            return
        if arguments.cfg == "job" and not own_files:
            print(self.show(arguments.overrides, directory, arguments.package), end="")
            return
        options = [text for text in argv if text not in arguments.overrides]
        asks_only = arguments.hydra_help or arguments.cfg or arguments.info
        if arguments.multirun and not (asks_only or arguments.shell_completion):
            options = [text for text in options if text not in ("-m", "--multirun")]
            self.sweep(arguments.overrides, options, directory, checked=not own_files)
            return
        overrides = self.overrides(arguments.overrides, directory, sweep=arguments.multirun)
        sys.argv[1:] = [*options, *overrides]
        if not (asks_only or own_files or arguments.shell_completion):
            (overrides,) = jobs_of(overrides, sweep=False)
            compose_settings(self.name, self.settings_class, overrides, directory)
        if not debug:
            # TensorFlow's log of its own start-up; real failures arrive as exceptions.
            os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

        import hydra

        def task(config: DictConfig) -> None:
            _job(self, config)

        # An absolute path lets the command work from any folder, checkout or wheel.
        folder = str(configuration_directory())
        hydra.main(version_base="1.3", config_path=folder, config_name=self.name)(task)()

    def sweep(
        self,
        texts: Sequence[str],
        options: Sequence[str] = (),
        directory: str | None = None,
        *,
        checked: bool = True,
    ) -> None:
        """Run a job for each combination of values, or search; `options` are Hydra's own."""
        from smartbkg_tf.runtime.sweeps.runner import run_sweep
        from smartbkg_tf.settings.sweeps import SweepCommandSettings

        own, given = sweep_overrides(texts)
        own += [text for text in given if text.startswith("hydra.searchpath=")]
        settings = compose_settings("sweep", SweepCommandSettings, own, directory)
        overrides = self.overrides(given, directory, sweep=True)
        loader = _config_loader(_folders(given, directory))
        jobs = list(jobs_of(overrides, sweep=True, loader=loader))

        def check(job: Sequence[str]) -> None:
            compose_settings(self.name, self.settings_class, self.overrides(job), directory)

        for job in jobs[:_CHECKED_JOBS] if checked else ():
            check(job)
        written = [[text.removeprefix("++") for text in job] for job in jobs]
        run_sweep(self.name, settings, written, options, check=check if checked else len)

    def show(
        self,
        overrides: Sequence[str] = (),
        directory: str | None = None,
        package: str | None = None,
    ) -> str:
        """Write the whole configuration with all defaults as YAML, or the part under one key."""
        texts = self.overrides(overrides, directory)
        values = filled(self.settings_class, composed_values(compose(self.name, texts, directory)))
        config = OmegaConf.create(values)
        part = OmegaConf.select(config, package) if package not in (None, "_global_") else config
        if part is None:
            raise ConfigurationError(f"--package {package}: there is no such key")
        return OmegaConf.to_yaml(part) if OmegaConf.is_config(part) else f"{part}\n"

    def help(self, overrides: Sequence[str] = (), directory: str | None = None) -> str:
        """Explain the command and its settings; chosen groups in place of the default ones."""
        from smartbkg_tf.runtime.help import help_text

        texts = self.overrides(overrides, directory)
        chosen = [text for text in texts if text[:1].isalpha() and not text.startswith("hydra")]
        config, choices = _compose(self.name, chosen, directory)
        settings, needed = with_defaults(self.settings_class, composed_values(config))
        return help_text(
            self.name,
            sys.modules[self.run.__module__].__doc__ or "",
            settings,
            needed=needed,
            choices=choices,
            directory=configuration_directory(),
        )


def _end_cleanly_when_terminated() -> None:
    """Let SIGTERM and SIGHUP (a closed terminal) unwind, so that half-written files are removed."""

    def end(number: int, _: object) -> None:
        with contextlib.suppress(OSError):  # The terminal may be gone.
            print("terminated", file=sys.stderr, flush=True)
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        return
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        # Under nohup SIGHUP is ignored, and stays so.
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, end)


def _job(entry: Command[S], config: DictConfig) -> None:
    """Run the command with a composed configuration."""
    from hydra.core.hydra_config import HydraConfig

    from smartbkg_tf.runtime.log import recording

    given = " ".join(HydraConfig.get().overrides.task)
    with recording(f"{entry.name} {as_written(given)}".strip()):
        guarded(
            lambda: entry.run(to_settings(entry.settings_class, config)),
            debug=bool(config.get("debug")),
        )


def guarded(work: Callable[[], Any], *, debug: bool) -> Any:
    """Run something and turn exceptions into messages and exit codes."""
    try:
        return work()
    except (Exception, KeyboardInterrupt) as error:
        code, message = _explained(error)
        if debug and isinstance(error, Exception):
            traceback.print_exc()
        print(message, file=sys.stderr, flush=True)
        raise SystemExit(code) from None


def _explained(error: BaseException) -> tuple[int, str]:
    """Give the exit code and the message of an exception."""
    if isinstance(error, UserError):
        return 1, f"error: {error}"
    missing = missing_package(error) if isinstance(error, ModuleNotFoundError) else None
    if missing is not None:
        return 1, f"error: {missing}"
    if isinstance(error, KeyboardInterrupt):
        return 130, "stopped by the user"
    if isinstance(error, OSError) and error.errno == 28:  # ENOSPC
        return 1, (
            f"error: the disk is full ({error.filename or 'while writing'})\n"
            "  -> free space or choose another output, then run the same command again"
        )
    place = traceback.extract_tb(error.__traceback__)[-1]
    return 3, (
        f"internal error: {type(error).__name__}: {error} "
        f"({Path(place.filename).name}:{place.lineno})\n"
        "  -> this is a fault of smartbkg_tf, not of yours; run again with debug=true and "
        "report the traceback"
    )


def _translate(error: Exception) -> ConfigurationError:
    """Say what Hydra or OmegaConf refused, with the nearest known name."""
    from hydra.errors import MissingConfigException

    text = as_written(str(error))
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        options = list(error.options or [])
        if group and options:
            return ConfigurationError(f"{group}={choice}: {did_you_mean(choice, options)}")
        return ConfigurationError(text.splitlines()[0])
    if text.startswith("Could not delete"):
        return ConfigurationError(f"there is nothing to leave out: {text.splitlines()[0]}")
    if "Could not find" in text or "No match in the defaults list" in text:
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return ConfigurationError(" ".join(lines[:2]))
    cause = error.__cause__
    detail = f" ({str(cause).splitlines()[0]})" if cause is not None else ""
    return ConfigurationError(text.splitlines()[0] + detail)
