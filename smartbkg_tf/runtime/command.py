"""One way to run every command: compose, check, run, and end with the right exit code.

Exit codes: 0 done, 1 a user's mistake (one clear message), 2 wrong usage, 3 a fault of
ours. The configuration is composed and checked before anything heavy is imported.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from smartbkg_tf.errors import ConfigurationError, UserError, did_you_mean
from smartbkg_tf.runtime.overrides import commas_as_text, paths_as_values
from smartbkg_tf.settings.base import CommandSettings, validate

S = TypeVar("S", bound=CommandSettings)

#: A sweep is checked in advance up to this many combinations.
_CHECKED_COMBINATIONS = 200


def configuration_directory() -> Path:
    """Find the folder ``conf`` of this installation.

    Returns
    -------
    pathlib.Path
        Inside the package for a wheel, beside it for a checkout.

    Raises
    ------
    ConfigurationError
        When neither exists: the installation is damaged.
    """
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
    """Compose the configuration of a command as its command line would.

    Parameters
    ----------
    name : str
        The command, for example ``train``.
    overrides : sequence of str
        Hydra overrides, for example ``["model=resnet", "seed=3"]``.
    directory : str, optional
        A further folder of configuration files (``--config-dir``).

    Returns
    -------
    omegaconf.DictConfig
        The composed configuration, without Hydra's own node.

    Raises
    ------
    ConfigurationError
        For an unknown key, group or choice, with the nearest known one.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.plugins import Plugins
    from hydra.errors import HydraException

    GlobalHydra.instance().clear()
    Plugins.instance()
    extra = [] if directory is None else [f"hydra.searchpath=[file://{Path(directory).resolve()}]"]
    try:
        with initialize_config_dir(str(configuration_directory()), version_base="1.3"):
            config = hydra_compose(name, [*overrides, *extra])
    except (HydraException, OmegaConfBaseException) as error:
        raise _translate(name, error, overrides) from error
    except ValueError as error:
        # What Hydra raises for `model=null`.
        for group, _, choice in (text.lstrip("+").partition("=") for text in overrides):
            folder = configuration_directory() / group
            if choice.strip().lower() == "null" and folder.is_dir():
                there = ", ".join(sorted(path.stem for path in folder.glob("*.yaml")))
                raise ConfigurationError(
                    f"{group}=null: '{group}' is a group of settings and needs one of: {there}",
                    next_step=f"leave {group}= out for the default",
                ) from error
        raise
    assert isinstance(config, DictConfig)
    return config


def compose_settings(
    name: str, cls: type[S], overrides: Sequence[str] = (), directory: str | None = None
) -> S:
    """Compose the configuration of a command and check it.

    Parameters
    ----------
    name : str
        The command.
    cls : type
        Its settings class.
    overrides : sequence of str
        Hydra overrides.
    directory : str, optional
        A further folder of configuration files.

    Returns
    -------
    CommandSettings
        Checked settings.

    Raises
    ------
    ConfigurationError
        Listing every problem.
    """
    return to_settings(cls, compose(name, overrides, directory))


def to_settings(cls: type[S], config: DictConfig) -> S:
    """Check a composed configuration.

    Parameters
    ----------
    cls : type
        The settings class.
    config : omegaconf.DictConfig
        Composed values, resolved here.

    Returns
    -------
    CommandSettings
        Checked settings.

    Raises
    ------
    ConfigurationError
        Listing every problem.
    """
    try:
        values = OmegaConf.to_container(config, resolve=True, throw_on_missing=False)
    except OmegaConfBaseException as error:
        raise ConfigurationError(str(error).splitlines()[0]) from error
    assert isinstance(values, dict)
    values = _without_missing({str(k): v for k, v in values.items() if k != "hydra"})
    return validate(cls, values)


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

    Parameters
    ----------
    name : str
        The command; ``conf/<name>.yaml`` is its configuration.
    settings_class : type
        Its settings class.
    run : callable
        Takes the checked settings and does the work; what it returns is handed to
        Hydra (sweepers optimise it).
    paths : tuple of str, default ()
        Keys that hold a path although a configuration group has the same name.
    lists : tuple of str, default ()
        Keys whose text may hold several values with commas between.
    """

    name: str
    settings_class: type[S]
    run: Callable[[S], Any]
    paths: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()

    def overrides(self, arguments: Sequence[str]) -> list[str]:
        """Rewrite what Hydra would take in another sense than this command."""
        return commas_as_text(paths_as_values(arguments, self.paths), self.lists)

    def __call__(self) -> None:
        """Check the configuration, then run the job, or each job of a sweep.

        Raises
        ------
        SystemExit
            With the exit codes of this module.
        """
        argv = sys.argv[1:] = self.overrides(sys.argv[1:])
        _end_cleanly_when_terminated()
        debug = "debug=true" in (text.lower() for text in argv)
        if "--help" in argv or "-h" in argv:
            print(guarded(lambda: self.help(argv), debug=debug))
            raise SystemExit(0)
        guarded(lambda: _check_in_advance(self.name, self.settings_class, argv), debug=debug)
        if not debug:
            # TensorFlow's log of its own start-up; real failures arrive as exceptions.
            os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

        import hydra

        def task(config: DictConfig) -> Any:
            return _job(self, config)

        # An absolute path lets the command work from any folder, checkout or wheel.
        main = hydra.main(
            version_base="1.3",
            config_path=str(guarded(configuration_directory, debug=debug)),
            config_name=self.name,
        )
        guarded(main(task), debug=debug)

    def help(self, argv: Sequence[str] = ()) -> str:
        """Explain the command and its settings.

        Parameters
        ----------
        argv : sequence of str
            Overrides; chosen groups are explained instead of the default ones.

        Returns
        -------
        str
            The text of ``--help``.
        """
        from smartbkg_tf.runtime.help import help_text

        description = sys.modules[self.run.__module__].__doc__ or ""
        return help_text(self.name, description, argv, configuration_directory())


def command(
    name: str,
    cls: type[S],
    run: Callable[[S], Any],
    paths: tuple[str, ...] = (),
    lists: tuple[str, ...] = (),
) -> Command[S]:
    """Make the entry point of a command.

    Parameters
    ----------
    name : str
        The command; ``conf/<name>.yaml`` is its configuration.
    cls : type
        Its settings class.
    run : callable
        Takes the checked settings and does the work.
    paths : tuple of str, default ()
        Keys that hold a path although a configuration group has the same name.
    lists : tuple of str, default ()
        Keys whose text may hold several values with commas between.

    Returns
    -------
    Command
        Call it without arguments.
    """
    return Command(name, cls, run, paths, lists)


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
        # Under nohup SIGHUP is ignored, and stays so; Submitit's jobs handle SIGTERM themselves.
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, end)


def _job(entry: Command[S], config: DictConfig) -> Any:
    """Run one job, in the process that a launcher chose; a failed one does not end a sweep."""
    from hydra.core.hydra_config import HydraConfig

    from smartbkg_tf.runtime.log import keep_log_in, recording
    from smartbkg_tf.runtime.sweep import job_folder, note_failure

    _end_cleanly_when_terminated()
    folder = job_folder()
    with recording(" ".join([entry.name, *HydraConfig.get().overrides.task])):
        if folder is not None:
            keep_log_in(folder)
        try:
            return guarded(
                lambda: entry.run(to_settings(entry.settings_class, config)),
                debug=bool(config.get("debug")),
            )
        except Stop as stop:
            if folder is None or stop.code not in (1, 3):
                raise
            # Sweepers take None for a job without a result.
            note_failure(folder, stop.code, stop.message)
            return None


class Stop(SystemExit):
    """The end of a command after the message has been printed.

    Parameters
    ----------
    code : int
        Exit code.
    message : str
        What was printed.
    """

    def __init__(self, code: int, message: str = "") -> None:
        super().__init__(code)
        self.message = message


def guarded(work: Callable[[], Any], *, debug: bool) -> Any:
    """Run something and turn exceptions into messages and exit codes.

    Parameters
    ----------
    work : callable
        What to run.
    debug : bool
        Show tracebacks.

    Returns
    -------
    object
        What `work` returned.

    Raises
    ------
    SystemExit
        With code 1 for a user's mistake, 3 for a fault of ours, 130 for Ctrl-C.
    """
    try:
        return work()
    except (Exception, KeyboardInterrupt) as error:
        code, message = _explained(error)
        if debug and isinstance(error, Exception):
            traceback.print_exc()
        print(message, file=sys.stderr, flush=True)
        raise Stop(code, message) from None


def _explained(error: BaseException) -> tuple[int, str]:
    """Give the exit code and the message of an exception."""
    if isinstance(error, UserError):
        return 1, f"error: {error}"
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


def _check_in_advance(name: str, cls: type[CommandSettings], argv: Sequence[str]) -> None:
    """Compose and check the configuration before Hydra starts the job."""
    from hydra._internal.utils import get_args_parser

    arguments = get_args_parser().parse_args(list(argv))
    asks_only = (
        arguments.hydra_help
        or arguments.cfg
        or arguments.info
        or arguments.shell_completion
        or arguments.resolve
        or arguments.config_name
        or arguments.config_path
    )
    if asks_only:
        return
    for overrides in _combinations(arguments.overrides, arguments.multirun):
        compose_settings(name, cls, overrides, arguments.config_dir)


def _combinations(texts: Sequence[str], multirun: bool) -> Iterator[list[str]]:
    """Every combination of a sweep (bounded), or the overrides as they are."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import OverrideParseException

    try:
        overrides = OverridesParser.create().parse_overrides(list(texts))
    except OverrideParseException as error:
        raise ConfigurationError(
            f"the override '{error.override}' cannot be read ({str(error).splitlines()[0]})",
            next_step="put values with spaces, = or commas into quotes: 'key=\"a value\"'",
        ) from error
    # Hydra's own settings need its full composition; it checks them itself.
    choices: list[list[str]] = []
    for text, override in zip(texts, overrides, strict=True):
        key = override.key_or_group
        if key == "hydra" or key.startswith(("hydra/", "hydra.")):
            continue
        if not override.is_sweep_override():
            choices.append([text])
            continue
        if not multirun:
            raise ConfigurationError(
                f"'{text}' gives several values to '{key}'",
                next_step=f"add --multirun to run one job for each, or write a list: '{key}=[...]'",
            )
        if override.is_discrete_sweep():
            element = override.get_key_element()
            choices.append([f"{element}={value}" for value in override.sweep_string_iterator()])
    for combination in itertools.islice(itertools.product(*choices), _CHECKED_COMBINATIONS):
        yield list(combination)


def _translate(name: str, error: Exception, overrides: Sequence[str]) -> ConfigurationError:
    """Say what Hydra or OmegaConf refused, with the nearest known name."""
    from hydra.errors import ConfigCompositionException, MissingConfigException

    text = str(error)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        missing = str(error.missing_cfg_file)
        group, _, choice = missing.rpartition("/")
        options = list(error.options or [])
        if group and options:
            return ConfigurationError(f"{group}={choice}: {did_you_mean(choice, options)}")
        return ConfigurationError(text.splitlines()[0])
    cause = error.__cause__
    key = getattr(cause, "full_key", None)
    if isinstance(error, ConfigCompositionException) and key and "not in struct" in str(cause):
        return ConfigurationError(
            f"{key}: there is no such key; {_nearest_key(name, str(key), overrides)}"
        )
    if "Could not find" in text or "No match in the defaults list" in text:
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return ConfigurationError(" ".join(lines[:2]))
    detail = f" ({str(cause).splitlines()[0]})" if cause is not None else ""
    return ConfigurationError(text.splitlines()[0] + detail)


def _nearest_key(name: str, key: str, overrides: Sequence[str]) -> str:
    """Look up an unknown key's nearest neighbours, with the groups that were chosen."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    with initialize_config_dir(str(configuration_directory()), version_base="1.3"):
        groups = [
            text
            for text in overrides
            if (configuration_directory() / text.lstrip("+").partition("=")[0]).is_dir()
        ]
        config = hydra_compose(name, groups)
    parent, _, last = key.rpartition(".")
    node = OmegaConf.select(config, parent) if parent else config
    known = [str(k) for k in node] if isinstance(node, DictConfig) else []
    hint = did_you_mean(last, known)
    if not hint.startswith("did you mean"):
        everywhere = [path for path in _leaves(config) if path.rpartition(".")[2] == last]
        if everywhere:
            return f"did you mean '{everywhere[0]}'?"
    return hint


def _leaves(config: DictConfig, prefix: str = "") -> Iterator[str]:
    for key in map(str, config):
        if OmegaConf.is_missing(config, key) or OmegaConf.is_interpolation(config, key):
            yield f"{prefix}{key}"
            continue
        node = config[key]
        if isinstance(node, DictConfig):
            yield from _leaves(node, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"
