import pytest

from copygym.experiments.manifest import machine, packages, public_text


@pytest.mark.parametrize(
    ("text", "public"),
    [
        ("copygym run data.path=/home/ann/logs/a.csv seed=0", "copygym run data.path=a.csv seed=0"),
        ("~/logs/a.csv", "a.csv"),
        ("out='/tmp/my run'", "out='my run'"),
        ("[/a/b,/c/d]", "[b,d]"),
        ("outputs/quickstart/2026", "outputs/quickstart/2026"),
        ("https://api.example.org/a/b", "https://api.example.org/a/b"),
        ("C:\\Users\\ann\\a.csv", "a.csv"),
        ("copygym.experiments.delivery", "copygym.experiments.delivery"),
    ],
)
def test_paths_say_nothing_of_the_machine(text, public):
    assert public_text(text) == public


def test_versions_and_machine_are_there():
    assert packages()["numpy"][0].isdigit()
    assert packages()["python"].startswith("3.")
    assert machine()["cores"] >= 1
    assert set(machine()) >= {"system", "processor", "memory_gib", "threads"}
