"""What a manifest says of the machine and of the versions is what was there."""

import subprocess
import sys
import textwrap
from importlib import metadata
from types import SimpleNamespace

import pytest

from copygym.experiments.runs.machine import accelerator, machine, packages

GIB = 2**30


def test_versions_are_those_of_all_that_results_depend_on():
    found = packages()
    assert found["python"].startswith("3.")
    for name in ("copygym", "numpy", "torch", "transformers", "trl", "peft", "accelerate",
                 "tokenizers", "safetensors", "stable-baselines3"):  # fmt: skip
        assert found[name] == metadata.version(name), name


@pytest.mark.parametrize("name", ["bitsandbytes", "opacus", "optuna", "ray"])
def test_an_extra_is_listed_where_it_is_installed(name):
    installed = {dist.name.lower(): dist.version for dist in metadata.distributions()}
    assert packages().get(name) == installed.get(name)


def test_tools_of_developers_are_not_listed():
    assert not {"pytest", "ruff", "mypy"} & packages().keys()


def test_a_package_whose_part_the_config_names_is_listed():
    assert "pytest" in packages({"reward": {"_target_": "pytest.approx"}})


def test_the_machine_is_summed_up():
    assert machine()["cores"] >= 1
    assert machine().keys() >= {"system", "processor", "memory_gib", "threads", "accelerator"}


@pytest.fixture
def nvidia(tmp_path, monkeypatch):
    """A machine with two cards, as nvidia-smi lists them."""
    program = tmp_path / "nvidia-smi"
    program.write_text(
        "#!/bin/sh\n"
        "echo '0, GPU-aa11, NVIDIA H200, 143771, 570.1'\n"
        "echo '1, GPU-bb22, NVIDIA T4, [N/A], 570.1'\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def torch(*peaks, started=True, cuda="12.8"):
    """Return what stands for torch with a card for each peak, in bytes."""
    cards = [SimpleNamespace(name=f"card {i}", total_memory=8 * GIB) for i in range(len(peaks))]
    return SimpleNamespace(
        version=SimpleNamespace(cuda=cuda, hip=None),
        backends=SimpleNamespace(mps=SimpleNamespace(is_available=lambda: False)),
        cuda=SimpleNamespace(
            is_initialized=lambda: started,
            device_count=lambda: len(peaks),
            get_device_properties=cards.__getitem__,
            max_memory_allocated=peaks.__getitem__,
        ),
    )


def test_without_torch_the_cards_are_seen_and_not_used(nvidia, monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert accelerator() == {
        "devices": [
            {"name": "NVIDIA H200", "memory_gib": 140.4},
            {"name": "NVIDIA T4", "memory_gib": None},
        ],
        "driver": "570.1",
        "torch": "not loaded",
        "used": False,
    }


@pytest.mark.parametrize(
    ("allowed", "names"),
    [
        ("", []),
        ("-1", []),
        ("1", ["NVIDIA T4"]),
        ("1,0", ["NVIDIA H200", "NVIDIA T4"]),
        ("1,-1,0", ["NVIDIA T4"]),
        ("GPU-aa", ["NVIDIA H200"]),
    ],
)
def test_a_card_that_is_hidden_from_the_process_is_not_seen(nvidia, monkeypatch, allowed, names):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", allowed)
    assert [device["name"] for device in accelerator()["devices"]] == names


@pytest.mark.parametrize(("peaks", "used"), [((0, 3 * GIB), True), ((0, 0), False)])
def test_torch_has_used_a_card_if_tensors_were_on_it(nvidia, monkeypatch, peaks, used):
    monkeypatch.setitem(sys.modules, "torch", torch(*peaks))
    found = accelerator()
    assert found["used"] is used
    assert found["torch"] == "cuda 12.8"
    assert found["devices"][1] == {
        "name": "card 1", "memory_gib": 8.0, "peak_gib": peaks[1] / GIB,
    }  # fmt: skip


def test_cuda_is_not_started_for_the_manifest(nvidia, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", torch(started=False))
    found = accelerator()
    assert found["used"] is False
    assert [device["name"] for device in found["devices"]] == ["NVIDIA H200", "NVIDIA T4"]


def test_the_summary_imports_no_torch():
    script = """
        import sys
        from copygym.experiments.runs.machine import machine, packages
        packages({}), machine()
        print("torch" in sys.modules)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[-1] == "False"
