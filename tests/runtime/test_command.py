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
from smartbkg_tf.settings.base import fields_of

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
def test_the_whole_configuration_is_shown_with_its_defaults(exit_of: Exit, name: str) -> None:
    code, out, err = exit_of(command_named(name), "--cfg", "job", "debug=true")
    assert (code, err) == (0, "")
    shown = OmegaConf.to_container(OmegaConf.create(out))
    fields = fields_of(command_named(name).settings_class)
    assert isinstance(shown, dict)
    assert set(shown) == {field.alias or key for key, field in fields.items()}
    assert shown["debug"] is True
    assert shown["overwrite"] is False
    assert exit_of(config_main, "show", name, "debug=true")[1] == out


def test_a_part_of_the_configuration_is_shown(exit_of: Exit) -> None:
    options = ("--cfg", "job", "--package")
    code, out, _ = exit_of(command_named("train"), *options, "data.fractions")
    assert (code, out) == (0, "train: 0.7\nvalidation: 0.15\ntest: 0.15\n")
    assert exit_of(command_named("train"), *options, "data.fractions.test")[1] == "0.15\n"
    code, _, err = exit_of(command_named("train"), *options, "data.nothing")
    assert code == 1
    assert "there is no such key" in err


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


def test_a_group_without_a_choice(exit_of: Exit) -> None:
    """No file is read then; what the settings class needs is asked for."""
    code, _, err = exit_of(command_named("train"), "model=null")
    assert code == 1
    assert "model: a value is needed; give model=VALUE" in err
    assert "model:" in exit_of(command_named("train"), "--cfg", "job", "normalisation=null")[1]


def test_a_sweep_cannot_contain_no_choice(exit_of: Exit) -> None:
    code, _, err = exit_of(command_named("train"), "--multirun", "normalisation=physical,null")
    assert code == 1
    assert "'normalisation=physical,null' has null among its choices" in err


def test_an_experiment_with_and_without_plus(exit_of: Exit) -> None:
    shown = [
        exit_of(command_named("train"), "--cfg", "job", f"{plus}experiment=quickstart")
        for plus in ("", "+")
    ]
    assert shown[0] == shown[1]
    assert "epochs: 12" in shown[0][1]


def test_unknown_group(exit_of: Exit) -> None:
    code, _, err = exit_of(command_named("train"), "model/particels=gcn")
    assert code == 1
    assert "there is no group 'model/particels'; did you mean 'model" in err


def test_all_unknown_keys_are_reported_as_they_were_written(exit_of: Exit) -> None:
    code, _, err = exit_of(command_named("train"), "trianing.epochs=3", "model.input=decay", "x=1")
    assert code == 1
    assert "3 problems" in err
    assert "trianing: there is no such key; did you mean 'training'?" in err
    assert "model.input: there is no such key; did you mean 'inputs'?" in err
    assert "+" not in err


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


def test_groups_and_experiments_of_a_folder_of_the_user(exit_of: Exit, tmp_path: Path) -> None:
    for name, text in {
        "model/mine": "defaults: [resnet, _self_]\ninputs: decay\n",
        "experiment/mine": "# @package _global_\ndefaults: [override /model: mine]\nseed_: 1\n",
    }.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / f"{name}.yaml").write_text(text)
    options = ("train", "--config-dir", str(tmp_path))
    code, out, _ = exit_of(config_main, "show", *options, "model=mine", "training.epochs=17")
    assert code == 0
    assert OmegaConf.create(out).model.inputs == "decay"
    code, _, err = exit_of(command_named("train"), *options[1:], "experiment=mine")
    assert code == 1
    assert "used: seed_: there is no such key" in err
    place = f"hydra.searchpath=[file://{tmp_path}]"
    for options in ((), ("--cfg", "job"), ("--multirun",)):
        assert "seed_:" in exit_of(command_named("train"), *options, place, "experiment=mine")[2]


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
        "import signal, time\n"
        # Under nohup, which some batch systems use, it is ignored in all children.
        f"signal.signal({int(number)}, signal.SIG_DFL)\n"
        "from smartbkg_tf.runtime import command\n"
        "from smartbkg_tf.runtime.files import atomic_directory\n"
        "command._end_cleanly_when_terminated()\n"
        f"with atomic_directory({str(tmp_path / 'dataset')!r}) as partial:\n"
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
    assert entry.overrides([given], sweep=True) == [f"++{given}"]


def test_a_comma_list_of_files_is_read(exit_of: Exit) -> None:
    code, _, err = exit_of(command_named("preprocess"), "input=no_a.h5,no_b.h5", "output=x")
    assert code == 1
    assert "no_a.h5" in err
    assert "--multirun" not in err
