from __future__ import annotations

import errno
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from smartbkg_tf.config import CONFIGURED, command_named
from smartbkg_tf.config import main as config_main
from smartbkg_tf.errors import ConfigurationError, InputError
from smartbkg_tf.runtime.command import compose, compose_settings, guarded

Exit = Callable[..., tuple[int, str, str]]


@pytest.fixture
def exit_of(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Exit:
    """Run a command in this process; give its exit code and what it printed."""

    def call(main: Callable[[], None], *arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["command", *arguments])
        code: object = 0
        try:
            main()
        except SystemExit as error:
            code = error.code or 0
        captured = capsys.readouterr()
        assert isinstance(code, int)
        return code, captured.out, captured.err

    return call


def raising(error: BaseException) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (InputError("is broken", where="a.h5"), 1, "error: a.h5: is broken"),
        (OSError(errno.ENOSPC, "No space left", "a.h5"), 1, "the disk is full"),
        (KeyboardInterrupt(), 130, "stopped by the user"),
        (ZeroDivisionError("x"), 3, "a fault of smartbkg_tf"),
        (OSError(errno.EIO, "io"), 3, "internal error: OSError"),
    ],
)
def test_exit_codes(
    error: BaseException, code: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        guarded(raising(error), debug=False)
    assert caught.value.code == code
    printed = capsys.readouterr().err
    assert text in printed
    assert "Traceback" not in printed


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        guarded(raising(InputError("is broken")), debug=True)
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("name", CONFIGURED)
def test_shipped_defaults_have_every_key_of_the_settings(name: str) -> None:
    """A key that stands only in the code could not be overridden by its name."""
    # Without a choice the group leaves no key: the dataset's own constants are used.
    chosen = ["normalisation=physical"] if name == "train" else []
    config = OmegaConf.to_container(compose(name, chosen), resolve=False)
    assert isinstance(config, dict)
    schema = command_named(name).settings_class.__pydantic_fields__  # type: ignore[attr-defined]
    expected = {field.alias or key for key, field in schema.items()}
    assert {key for key in config if key != "hydra"} == expected


def test_unknown_key_is_refused_with_the_nearest(exit_of: Exit) -> None:
    code, _, err = exit_of(command_named("train"), "model.inputz=decay")
    assert code == 1
    assert "model.inputz: there is no such key; did you mean 'inputs'?" in err
    assert "Traceback" not in err


def test_key_without_its_group_is_found(exit_of: Exit) -> None:
    code, _, err = exit_of(command_named("train"), "epochs=3")
    assert code == 1
    assert "did you mean 'training.epochs'?" in err


def test_unknown_choice_of_a_group(exit_of: Exit) -> None:
    code, _, err = exit_of(command_named("train"), "model=resnett")
    assert code == 1
    assert "did you mean 'resnet'?" in err


@pytest.mark.parametrize(
    ("command", "group"),
    [("train", "model"), ("train", "data"), ("train", "normalisation"), ("produce", "source")],
)
def test_a_group_without_a_choice(exit_of: Exit, command: str, group: str) -> None:
    code, _, err = exit_of(command_named(command), f"{group}=null")
    assert code == 1
    assert f"{group}=null: '{group}' is a group of settings and needs one of: " in err


def test_unknown_group(exit_of: Exit) -> None:
    code, _, err = exit_of(command_named("train"), "+experimant=quickstart")
    assert code == 1
    assert "experimant" in err


def test_wrong_type_and_range_are_reported_together(exit_of: Exit) -> None:
    code, _, err = exit_of(command_named("train"), "training.epochs=many", "training.batch_size=0")
    assert code == 1
    assert "training.epochs" in err
    assert "training.batch_size" in err
    assert "2 problems" in err


def test_several_values_without_multirun(exit_of: Exit) -> None:
    code, _, err = exit_of(command_named("train"), "model.inputs=particles,decay")
    assert code == 1
    assert "--multirun" in err


def test_each_job_of_a_sweep_is_checked_before_the_first_starts(exit_of: Exit) -> None:
    code, _, err = exit_of(command_named("train"), "--multirun", "model.inputs=particles,decai")
    assert code == 1
    assert "did you mean 'decay'?" in err


def test_override_that_cannot_be_read(exit_of: Exit) -> None:
    code, _, err = exit_of(command_named("train"), "model.inputs={")
    assert code == 1
    assert "cannot be read" in err


def test_wrong_usage_is_exit_code_2(exit_of: Exit) -> None:
    code, _, _ = exit_of(command_named("train"), "--no-such-flag")
    assert code == 2


@pytest.mark.parametrize("name", CONFIGURED)
def test_help_works_for_every_command(exit_of: Exit, name: str) -> None:
    code, out, _ = exit_of(command_named(name), "--help")
    assert code == 0
    assert name in out


def test_composition_in_code() -> None:
    entry = command_named("train")
    result = compose_settings("train", entry.settings_class, ["training.epochs=3"])
    assert result.training.epochs == 3  # type: ignore[attr-defined]
    with pytest.raises(ConfigurationError, match="no such key"):
        compose_settings("train", entry.settings_class, ["training.epoch=3"])


def test_config_show_prints_the_composed_configuration(exit_of: Exit) -> None:
    code, out, _ = exit_of(config_main, "show", "train", "training.epochs=17")
    assert code == 0
    assert OmegaConf.create(out).training.epochs == 17


def test_config_validate(exit_of: Exit) -> None:
    assert exit_of(config_main, "validate", "train", "model=resnet")[0] == 0
    code, _, err = exit_of(config_main, "validate", "training.batch_size=-1")
    assert code == 1
    assert "training.batch_size" in err


def test_config_schema(exit_of: Exit) -> None:
    code, out, _ = exit_of(config_main, "schema", "preprocess")
    assert code == 0
    assert '"max_particles"' in out
    assert exit_of(config_main, "scheme")[0] == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_terminated_job_leaves_nothing_half_written(tmp_path: Path, number: signal.Signals) -> None:
    """A batch system sends SIGTERM first, a closed terminal SIGHUP: what was begun is removed."""
    code = (
        "import time\n"
        "from smartbkg_tf.runtime import command\n"
        "from smartbkg_tf.runtime.files import whole_directory\n"
        "command._end_cleanly_when_terminated()\n"
        f"with whole_directory({str(tmp_path / 'dataset')!r}) as partial:\n"
        "    (partial / 'x').write_text('half')\n"
        "    print('begun', flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert "terminated" in errors
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "given", "key", "value"),
    [
        ("preprocess", "input=a/*.h5,b.h5", "input", "a/*.h5,b.h5"),
        ("preprocess", "input='a b.h5','c.h5'", "input", "a b.h5,c.h5"),
        ("preprocess", "input=[a.h5,b.h5]", "input", ["a.h5", "b.h5"]),
        ("apply", "input=a.h5,b.root", "input", "a.h5,b.root"),
        ("evaluate", "runs=run,other.parquet", "runs", "run,other.parquet"),
        ("produce", "input=a.root,b.root", "input", "a.root,b.root"),
        ("produce", "skim_files=a.csv,b.csv", "skim_files", "a.csv,b.csv"),
        ("produce", "event_type=mixed,charged", "event_type", "mixed,charged"),
        ("train", "data.skims=tau_thrust,btox_gamma", "data.skims", "tau_thrust,btox_gamma"),
    ],
)
def test_comma_lists_are_lists_outside_a_sweep(
    name: str, given: str, key: str, value: object
) -> None:
    entry = command_named(name)
    assert OmegaConf.select(compose(name, entry.overrides([given])), key) == value
    assert entry.overrides(["--multirun", given])[1] == given


def test_a_comma_list_of_files_is_read(exit_of: Exit) -> None:
    code, _, err = exit_of(command_named("preprocess"), "input=no_a.h5,no_b.h5", "output=x")
    assert code == 1
    assert "no_a.h5" in err
    assert "--multirun" not in err
