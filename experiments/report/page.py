"""The self-contained HTML report, built from a run's saved files only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from copygym.core.errors import UserError
from copygym.core.files import written
from copygym.core.files.storage import read_json, understood, write_bytes, write_text
from copygym.core.text.plain import inert, printable
from copygym.evaluation.records import ABOUT, TABLE, Records
from copygym.experiments.report.evidence import cautioned
from copygym.experiments.report.figures import Picture
from copygym.experiments.report.tables import Table, number
from copygym.experiments.runs.folder import read_result, read_run
from copygym.experiments.runs.trust import load_job, stored_job


@dataclass(frozen=True)
class Section:
    """A part of a report.

    Attributes:
        heading: short.
        text: paragraphs, plain text.
        tables: shown below the text.
        pictures: shown below the tables.
        points: a list shown last.
        folded: hidden behind its heading until opened.
    """

    heading: str
    text: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()
    points: tuple[str, ...] = ()
    folded: bool = False


@dataclass(frozen=True)
class Report:
    """What a study says.

    Attributes:
        title: one line.
        summary: the first paragraph.
        table: the main table, which a terminal shows too.
        sections: below it.
        answers: what came out and what to do about it, a sentence each, with intervals; they stand
            above all else, and a terminal shows them.
    """

    title: str
    summary: str
    table: Table
    sections: list[Section]
    answers: tuple[str, ...] = ()


def write_report(folder: Path, study: Any = None) -> tuple[Path, Report]:
    """Build the report and its parts from what is saved in ``folder``.

    ``report.html`` stands alone; ``report.md`` shows the same beside its pictures, ``table.md`` the
    main table; ``figures/`` has the pictures as SVG and PNG.

    Args:
        folder: of a finished run or multirun.
        study: that ran in it; None: the one that the folder names, if it is copygym's or the user
            has said that it is theirs.

    Returns:
        The page's path and what the study says.

    Raises:
        UserError: nothing has finished there, it names other code, or its files are damaged.
    """
    config, result = _saved(folder)
    if study is None:
        study = stored_job(config.get("job"), folder / "run.json")
    report, table, closing = _made(folder, study, result)
    return write_page(folder, result, table, [*report.sections, *closing]), report


def check_report(folder: Path, study: Any) -> None:
    """Check that a report can be made of what is saved in ``folder``; nothing is written.

    Raises:
        UserError: a file is missing or damaged.
    """
    _made(folder, study, read_result(folder))


def _made(
    folder: Path, study: Any, result: Mapping[str, Any]
) -> tuple[Report, Table, list[Section]]:
    """Return what a study says, its main table with cautions, and the closing sections."""
    path = folder / "manifest.json"
    manifest = read_json(path) if path.exists() else {}
    report = read_report(folder, study)
    with understood(folder / "result.json"):
        table = cautioned(report.table, result)
    with understood(path):
        closing = _closing(result, manifest)
    return report, table, closing


def read_report(folder: Path, study: Any) -> Report:
    """Return what a study says of the records in a folder.

    Raises:
        UserError: there are none, they are damaged, or the study cannot make anything of them.
    """
    records = Records.read(folder)
    path = folder / ABOUT
    try:
        with understood(path):
            report: Report = study.report(records)
    except UserError as error:
        if str(path) in str(error):
            raise
        raise UserError(f"{path} does not fit the records beside it: {error}") from error
    return report


def _saved(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (config, result) of a run, or of a multirun: the config of its first job."""
    if (folder / "run.json").exists() or not (folder / TABLE).exists():
        config, _ = read_run(folder)
        return config, read_result(folder)
    jobs = sorted(path.parent for path in folder.glob("*/run.json"))
    if not jobs:
        raise UserError(f"{folder} holds no job of a multirun; give the folder that it printed.")
    config, _ = read_run(jobs[0])
    return config, read_result(folder)


def write_page(
    folder: Path,
    result: Mapping[str, Any],
    table: Table,
    sections: list[Section],
) -> Path:
    """Write a report's files to a folder; return the path of the page that stands alone.

    Args:
        folder: of a run or a multirun.
        result: its ``title``, ``summary`` and ``synthetic``.
        table: the main table.
        sections: below it.
    """
    written.check_inside(folder / "figures", folder)
    for section in sections:
        for picture in section.pictures:
            write_bytes(folder / "figures" / f"{picture.name}.png", picture.png)
            write_bytes(folder / "figures" / f"{picture.name}.svg", _standalone(picture.svg))
    write_text(folder / "report.md", markdown(result, table, sections))
    return write_short(folder, result, table, sections)


def write_short(
    folder: Path, result: Mapping[str, Any], table: Table, sections: list[Section]
) -> Path:
    """Write ``table.md`` and ``report.html`` of a report; return the path of the second."""
    label = "Synthetic data. " if result.get("synthetic") else ""
    write_text(folder / "table.md", table.to_page(label))
    path = folder / "report.html"
    write_text(path, render(result, table, sections))
    return path


def markdown(result: Mapping[str, Any], table: Table, sections: list[Section]) -> str:
    """Return the page as Markdown; it expects its pictures beside it as SVG."""
    label = "**Synthetic data.** " if result.get("synthetic") else ""
    blocks = [
        f"# {inert(result['title'])}",
        *(f"> {inert(answer)}" for answer in result.get("answers", ())),
        f"{label}{inert(result['summary'])}",
        *_blocks(table),
    ]
    for section in sections:
        blocks.append(f"## {inert(section.heading)}")
        blocks += [inert(text) for text in section.text]
        for part in section.tables:
            blocks += _blocks(part)
        blocks += [f"![{inert(p.caption)}]({p.name}.svg)" for p in section.pictures]
        if section.points:
            blocks.append("\n".join(f"- {inert(point)}" for point in section.points))
    return "\n\n".join(blocks) + "\n"


def terminal(sections: Sequence[Section]) -> str:
    """Return sections as plain text; folded ones and pictures are left out, points are notes."""
    parts: list[str] = []
    for section in sections:
        if section.folded:
            continue
        blocks = list(section.text)
        for table in section.tables:
            blocks += [table.to_text(), table.caption]
        blocks.append("\n".join(f"note: {point}" for point in section.points))
        if blocks := [block for block in blocks if block]:
            parts += [section.heading, *blocks]
    return "\n\n".join(parts)


def _blocks(table: Table) -> list[str]:
    return [*([inert(table.caption)] if table.caption else []), table.to_markdown()]


def render(result: Mapping[str, Any], table: Table, sections: list[Section]) -> str:
    """Return the page as HTML; every text is escaped, and control characters are shown."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("copygym.experiments.report", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html.j2").render(
        title=result["title"],
        synthetic=bool(result.get("synthetic")),
        summary=result["summary"],
        answers=result.get("answers", ()),
        table=table,
        sections=sections,
    )
    return printable(page)


def _closing(result: Mapping[str, Any], manifest: Mapping[str, Any]) -> list[Section]:
    """Return the sections that every report ends with; an empty manifest is left out."""
    assumptions = tuple(result.get("assumptions", ()))
    sections = []
    if assumptions:
        text = ("No data supports these; the numbers above rest on them.",)
        sections.append(Section("Assumptions", text, points=assumptions))
    faults = tuple(result.get("notes", ()))
    if faults:
        sections.append(Section("What is known of the data", points=faults))
    if manifest:
        sections.append(Section("Manifest", tables=_manifest_tables(manifest), folded=True))
    return sections


def _manifest_tables(manifest: Mapping[str, Any]) -> tuple[Table, ...]:
    code, machine = manifest["code"], manifest["machine"]
    commit = code.get("commit", "not a checkout")
    rows = [
        ("command", str(manifest["command"])),
        ("seed", str(manifest["seed"])),
        ("config (SHA-256)", str(manifest["config_sha256"])[:16]),
        ("copygym", f"{code['version']}, sources {code['sources_sha256']}"),
        ("commit", f"{commit}{' with changes' if code.get('dirty') else ''}"),
        ("machine", f"{machine['processor']}, {machine['cores']} cores, {machine['system']}"),
        ("wall / CPU seconds", f"{manifest['wall_seconds']} / {manifest['cpu_seconds']}"),
    ]
    for name, data in (manifest.get("data") or {}).items():
        rows.append((f"data: {name}", f"SHA-256 {data['sha256'][:16]}, {data['rows']} rows"))
    stages = tuple(
        (name, number(t["wall_seconds"]), number(t["cpu_seconds"]))
        for name, t in manifest["stages"].items()
    )
    parts = manifest.get("rows_seen") or {}
    counts = {"rows": "rows", "users": "users", "clicks": "clicks"}
    if any(entry.get("organic") for entry in parts.values()):
        counts["organic"] = "of these without a send"
    seen = tuple(
        (name, *(str(entry.get(key, "-")) for key in counts)) for name, entry in parts.items()
    )
    versions = tuple(manifest["packages"].items())
    tables = [Table(("what", "value"), tuple(rows))]
    if seen:
        tables.append(Table(("part of the data", *counts.values()), seen))
    if stages:
        tables.append(Table(("stage", "wall seconds", "CPU seconds"), stages))
    return (*tables, Table(("package", "version"), versions))


def _standalone(svg: str) -> bytes:
    """Return an inline SVG as a file: it needs the font and colour that the page would give."""
    ink = svg.replace("currentColor", "#444").replace("var(--sans)", "sans-serif")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ink}'.encode()


__all__ = [
    "Report",
    "Section",
    "load_job",
    "markdown",
    "render",
    "terminal",
    "write_report",
    "write_short",
]
