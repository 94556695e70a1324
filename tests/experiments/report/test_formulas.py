"""What score, write and ope export runs in no spreadsheet, and is read again as it was."""

import gzip
import types

import polars as pl
import pytest

from copygym.core.tables.texts import read_texts
from copygym.experiments.commands import main as cli
from copygym.experiments.commands import write as write_cli
from copygym.experiments.commands.statistics import ope as ope_cli
from copygym.experiments.runs.outputs import write_table

TEXTS = ["=HYPERLINK(1)", "-20% off", "@you", "+1 free", "plain", "-1.5"]


@pytest.mark.parametrize("name", ["o.csv", "o.csv.gz"])
def test_a_scored_csv_holds_no_formula_and_is_read_again_as_it_was(tmp_path, capsys, name):
    table = pl.DataFrame({"headline": TEXTS, "=id": ["1"] * 6, "number": [-1.0] * 6})
    write_table(table, tmp_path / name)
    assert "5 cells or column names begin as a formula does" in capsys.readouterr().err
    raw = (tmp_path / name).read_bytes()
    lines = (gzip.decompress(raw) if name.endswith("gz") else raw).decode().splitlines()
    assert lines[0] == "headline,'=id,number"
    assert lines[1] == "'=HYPERLINK(1),1,-1.0"
    assert lines[6] == "-1.5,1,-1.0"
    again = read_texts(tmp_path / name, "headline")[0]
    assert again["headline"].to_list() == TEXTS
    # A second pass adds nothing.
    write_table(again, tmp_path / f"again.{name}")
    assert read_texts(tmp_path / f"again.{name}", "headline")[0].equals(again)


def test_parquet_stays_as_it_is(tmp_path, capsys):
    table = pl.DataFrame({"headline": TEXTS})
    write_table(table, tmp_path / "o.parquet")
    assert pl.read_parquet(tmp_path / "o.parquet").equals(table)
    assert read_texts(tmp_path / "o.parquet", "headline")[0].equals(table)
    assert capsys.readouterr().err == ""


class Writer:
    style = types.SimpleNamespace(is_cut=lambda prompt: False)

    def write(self, rows, *, seed, temperature, samples):
        assert rows.briefs == ("-- a brief", "\x1b]0;x\x07")
        return ["=1+1", "\x1b[2Jcopy"]


def test_written_copy_is_no_formula_and_says_nothing_to_the_terminal(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(write_cli, "load_trained", lambda folder, **options: Writer())
    briefs = tmp_path / "briefs.csv"
    briefs.write_text("brief\n'-- a brief\n\x1b]0;x\x07\n")
    arguments = ["write", "--model", str(tmp_path), "--briefs", str(briefs)]
    assert cli.main(arguments) == 0
    told = capsys.readouterr()
    rows = told.out.splitlines()
    assert rows[0] == "brief,copy,may_be_sent,why_not"
    assert rows[1].startswith("'-- a brief,'=1+1,false,")
    assert rows[2].startswith("\\u001b]0;x\\u0007,\\u001b[2Jcopy,false,")
    assert "\x1b" not in told.out
    assert "2 cells" in told.err
    assert cli.main([*arguments, "--output", str(tmp_path / "o.csv")]) == 0
    assert (tmp_path / "o.csv").read_text().startswith(f"{rows[0]}\n{rows[1]}\n")


def test_policies_of_an_estimate_are_no_formulas(tmp_path):
    log = tmp_path / "log.csv"
    rows = "".join(f"u{i},2024-01-01T00:00:0{i % 10},=a,1,{i % 2},0.5\n" for i in range(60))
    rows += "".join(f"v{i},2024-01-01T00:00:0{i % 10},b,1,{i % 3 == 0:d},0.5\n" for i in range(60))
    head = "user_id,timestamp,creative_id,impressions,clicks,propensity\n"
    log.write_text(head + rows)
    policy = tmp_path / "policy.csv"
    policy.write_text("arm,probability\n=a,1\nb,0\n")
    out = tmp_path / "out"
    assert ope_cli.main(["--log", str(log), "--policy", f"@p={policy}", "--output", str(out),
                         "--resamples", "20"]) == 0  # fmt: skip
    assert "\n@p" not in (out / "estimates.csv").read_text()
    assert "'@p" in (out / "estimates.csv").read_text()


def test_errors_and_tables_say_nothing_to_the_terminal(tmp_path, capsys):
    path = tmp_path / "arms.csv"
    path.write_text("arm,impressions,clicks\na\x1b]0;PWN\x07\u202eb,1000,30\nc,1000,40\n")
    assert cli.main(["abtest", str(path)]) == 0
    assert cli.main(["abtest", str(path), "--json"]) == 0
    assert cli.main(["abtest", str(path), "--control", "\x1b[31mnobody"]) == 2
    assert cli.main(["report", str(tmp_path / "\x1b]0;x\x07")]) == 2
    assert cli.main(["\x1b[2J"]) == 2
    told = capsys.readouterr()
    for text in (told.out, told.err):
        assert not set(text) & set("\x1b\x07\u202e\r")
    assert "a\\u001b]0;PWN\\u0007\\u202eb" in told.out
