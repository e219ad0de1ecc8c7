"""The test report: a stored package as a document for people (PDF/A4), the same bytes for the same package.

What it says is the package's and the ledger's; nothing is added but words. Its fonts come with the wheel
`rendercv-fonts` (Noto Sans, SIL Open Font License): Latin, Cyrillic, Greek, and Chinese, Japanese and Korean where a
text has them. A character that none of them has is printed by its number, never left out.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime
from functools import cache
from html import escape
from importlib.resources import files
from io import BytesIO
from itertools import groupby
from typing import Any

from reportlab.lib.colors import Color, HexColor, white
from reportlab.lib.enums import TA_CENTER, TA_LEFT, TA_RIGHT
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    BaseDocTemplate,
    Flowable,
    Frame,
    KeepTogether,
    PageTemplate,
    Paragraph,
    Spacer,
    Table,
    TableStyle,
)

from infra.checkpoint import StoredCheckpoint
from infra.vault import Amendment, StoredPackage
from schemas.base import excerpt
from schemas.guardian import AuthorizationPackage, TestedItem
from schemas.reverse_trace import TraceDisposition
from schemas.signoff import SignOff
from schemas.test_results import Instrument
from schemas.transfer_package import VaultPackage

INK, QUIET, RULE, SHADE = HexColor("#1b2733"), HexColor("#5c6b7a"), HexColor("#c9d2da"), HexColor("#f2f5f7")
VERDICT_COLOURS = {"accept": HexColor("#1d6f42"), "reject": HexColor("#a4262c"), "inconclusive": HexColor("#8a5a00")}

MARGIN = 18 * mm
WIDTH = A4[0] - 2 * MARGIN
HEADER = 16 * mm
FOOTER = 14 * mm

LONGEST_TITLE = 120
"""Characters: what is longer stands below its title, where it may go on on the next page."""

REGULAR, BOLD = "NotoSans", "NotoSans-Bold"
FALLBACKS = ("NotoSansSC", "NotoSansKR")

_ONE_AT_A_TIME = threading.Lock()
"""The fonts are shared, and count the characters of the document that is being made."""


def render_report(
    stored: StoredPackage,
    checkpoint: StoredCheckpoint | None,
    replaced_by: str | None,
    amendments: Sequence[Amendment] = (),
) -> bytes:
    """The report of one revision. `checkpoint` is the first that covers its storing; None while there is none.

    `amendments` stand first of all: whoever reads a result must have read that it is withdrawn.
    """
    with _ONE_AT_A_TIME:
        _register(REGULAR)
        _register(BOLD)
        buffer = BytesIO()
        template = _template(buffer, stored)
        story = list(_story(stored, checkpoint, replaced_by, amendments))
        template.build(story, canvasmaker=_numbered(stored))
        return buffer.getvalue()


# --- what it says ----------------------------------------------------------------------------------------------------


def _story(
    stored: StoredPackage,
    checkpoint: StoredCheckpoint | None,
    replaced_by: str | None,
    amendments: Sequence[Amendment],
) -> Iterator[Flowable]:
    received = stored.package
    package, data = received.authorization, received.authorization.test_data
    yield _title(stored, package)
    for amendment in amendments:
        yield from _note(_amended(amendment), VERDICT_COLOURS["reject"])
    yield from _notes(stored, replaced_by)
    yield _facts(
        ("Client", data.client),
        ("Client order", package.clientpo_id),
        ("Contract", f"{data.smart_contract_id} ({data.contract_type}, no. {data.sequence_number} of its chain)"),
        ("Part", _part(package)),
        ("Tested at", data.node_id),
        ("Performed by", data.begun.performer),
        ("Begun", _time(data.begun.started_at)),
        ("Completed", _time(data.completion_timestamp)),
    )
    yield KeepTogether([*_heading("Instruments"), _instruments(data.instruments)])
    for number, item in enumerate(data.tests, start=1):
        yield from _test(number, item, [signed for signed in package.approvals if signed.test_id == item.test_id])
    yield KeepTogether([*_heading("Evidence"), *_evidence(stored, received, checkpoint)])


def _title(stored: StoredPackage, package: AuthorizationPackage) -> Flowable:
    verdict = package.test_data.verdict.value
    title = [
        _text("Test report", _style(20, bold=True)),
        Spacer(0, 1.5 * mm),
        _text(f"{stored.package_id} · revision {stored.revision}", _style(10, colour=QUIET)),
    ]
    table = Table([[title, _verdict(verdict, 11)]], colWidths=[WIDTH - 42 * mm, 42 * mm])
    table.setStyle(TableStyle([("VALIGN", (0, 0), (-1, -1), "MIDDLE"), *_no_padding(), _cell("BOTTOMPADDING", 5 * mm)]))
    return table


def _amended(amendment: Amendment) -> str:
    what = "must be measured again" if amendment.amendment == TraceDisposition.RETEST else "is withdrawn"
    return (
        f"The result of {amendment.test_id} {what}: {amendment.reason}. Decided by {amendment.decided_by} on "
        f"{_time(amendment.decided_at)}, because an instrument that it relies on turned out to be bad "
        f"(trace {amendment.trace_id}, ledger entry {amendment.entry})."
    )


def _notes(stored: StoredPackage, replaced_by: str | None) -> Iterator[Flowable]:
    colour = VERDICT_COLOURS["inconclusive"]
    if stored.replaces is not None:
        yield from _note(f"This report amends {stored.replaces}, and replaces it. Both are kept.", colour)
    if replaced_by is not None:
        yield from _note(f"This report is not current: {replaced_by} replaces it.", colour)


def _note(note: str, colour: Color) -> Iterator[Flowable]:
    table = Table([[_text(note, _style(9.5, bold=True))]], colWidths=[WIDTH], splitInRow=1)
    table.setStyle(TableStyle([("LINEBEFORE", (0, 0), (0, -1), 2, colour), ("BACKGROUND", (0, 0), (-1, -1), SHADE)]))
    yield table
    yield Spacer(0, 3 * mm)


def _instruments(instruments: Sequence[Instrument]) -> Flowable:
    if not instruments:
        return _text("No instrument was needed.", _style(9, colour=QUIET))
    return _grid(
        ("Instrument", "Type", "Certificate", "Calibrated", "Due"),
        [
            (
                found.equipment_id,
                found.equipment_type,
                found.certificate or "none asked for",
                *("" if day is None else _date(day) for day in (found.calibrated_on, found.due_on)),
            )
            for found in instruments
        ],
        (0.24, 0.24, 0.28, 0.12, 0.12),
    )


def _test(number: int, item: TestedItem, signatures: Sequence[SignOff]) -> Iterator[Flowable]:
    result = item.result
    kind = _words(item.test_type)
    procedure = f"procedure {item.procedure_id}, revision {item.procedure_revision}"
    whole = [(name, text) for name, text in (("Test", kind), ("By", procedure)) if len(text) > LONGEST_TITLE]
    head = [
        [
            _text(f"{number}. {excerpt(kind, LONGEST_TITLE)}", _style(12, bold=True)),
            _text(f"{item.test_id} · {excerpt(procedure, LONGEST_TITLE)}", _QUIET),
        ],
        _verdict(result.verdict.value, 9),
    ]
    title = Table([head], colWidths=[WIDTH - 30 * mm, 30 * mm])
    title.setStyle(TableStyle([("VALIGN", (0, 0), (-1, -1), "MIDDLE"), *_no_padding()]))
    opening: list[Flowable] = [Spacer(0, 6 * mm), title, Spacer(0, 2 * mm)]
    if result.readings:
        readings = [(reading.name, f"{reading.value:f}", _unit(reading.unit)) for reading in result.readings]
        yield KeepTogether([*opening, _grid(("Reading", "Value", "Unit"), readings, (0.5, 0.25, 0.25), right=1)])
    else:
        yield KeepTogether(opening)
    said = _facts(
        *whole,
        ("Observations", result.observations or "none"),
        ("Procedure", "followed" if result.procedure_followed else "not followed as written"),
        ("Deviations", result.deviations or "none"),
        *([("Equipment", "; ".join(item.flags))] if item.flags else []),
        ("Results hash", item.content_hash),
        columns=1,
    )
    signed = _grid(
        ("Signed by", "Role", "Meaning", "Time", "Qualification"),
        [
            (by.person, _words(by.role), by.meaning.value, _time(by.signed_at), by.qualification or "not needed")
            for by in signatures
        ],
        (0.22, 0.2, 0.14, 0.24, 0.2),
    )
    note = _small("Each signature is for exactly the results with the hash above.")
    yield KeepTogether([Spacer(0, 2 * mm), said, Spacer(0, 2 * mm), signed, note])


def _evidence(stored: StoredPackage, received: VaultPackage, checkpoint: StoredCheckpoint | None) -> Iterator[Flowable]:
    package = received.authorization
    signature = package.guardian_signature
    yield _facts(
        ("Package", stored.content_hash),
        ("Authorization", package.content_hash),
        ("Contract document", package.test_data.document_hash),
        ("Guardian", f"{signature.node_id}, key {signature.key_id} ({signature.algorithm})"),
        ("Authorized", _time(package.authorized_at)),
        ("In the vault since", f"{_time(stored.received_at)}, ledger entry {stored.entry}"),
        ("Audit chain", _entries([entry.seq for entry in received.audit_chain.entries])),
        ("Ledger checkpoint", _checkpoint(checkpoint)),
        columns=1,
    )
    yield _small(
        "Hashes are SHA-256 over canonical JSON (RFC 8785). The signed checkpoint covers every entry that is named "
        "here; the vault gives the proofs."
    )


def _part(package: AuthorizationPackage) -> str:
    data = package.test_data
    names = [data.part_id, data.part_number and f"part number {data.part_number}"]
    pieces = f"{data.quantity} pieces" if data.quantity > 1 else None
    return ", ".join(name for name in (*names, pieces) if name)


def _entries(seqs: Sequence[int]) -> str:
    """Numbers that follow each other as a range."""
    runs = [
        [seq for _, seq in run] for _, run in groupby(enumerate(sorted(seqs)), key=lambda found: found[1] - found[0])
    ]
    ranges = ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs)
    return f"ledger entries {ranges}" if ranges else "cites no ledger entry"


def _checkpoint(checkpoint: StoredCheckpoint | None) -> str:
    if checkpoint is None:
        return "none covers the storing of this package yet; print the report again in a minute"
    origin = checkpoint.note.partition("\n")[0]
    return f"{origin}, {checkpoint.size} entries, root {checkpoint.root.hex()}"


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _date(day: date) -> str:
    return day.isoformat()


def _unit(unit: str) -> str:
    return "" if unit == "1" else unit


def _words(name: str) -> str:
    return name.replace("_", " ")


# --- how it looks ----------------------------------------------------------------------------------------------------


@cache
def _style(size: float, *, bold: bool = False, colour: Color = INK, right: bool = False) -> ParagraphStyle:
    return ParagraphStyle(
        f"{size}-{bold}-{colour}-{right}",
        fontName=BOLD if bold else REGULAR,
        fontSize=size,
        leading=size * 1.35,
        textColor=colour,
        splitLongWords=True,
        alignment=TA_RIGHT if right else TA_LEFT,
    )


_QUIET = _style(9, colour=QUIET)


def _text(text: str, style: ParagraphStyle) -> Paragraph:
    return Paragraph(_printable(text, style.fontName), style)


def _heading(text: str) -> list[Flowable]:
    return [Spacer(0, 6 * mm), _text(text, _style(12, bold=True)), Spacer(0, 2 * mm)]


def _small(text: str) -> Flowable:
    style = ParagraphStyle("small", parent=_style(7.5, colour=QUIET), spaceBefore=1.5 * mm)
    return _text(text, style)


def _verdict(verdict: str, size: float) -> Flowable:
    style = ParagraphStyle("verdict", parent=_style(size, bold=True), textColor=white, alignment=TA_CENTER)
    table = Table([[Paragraph(escape(verdict.upper()), style)]])
    table.setStyle(
        TableStyle(
            [
                ("BACKGROUND", (0, 0), (-1, -1), VERDICT_COLOURS[verdict]),
                ("ROUNDEDCORNERS", [3, 3, 3, 3]),
                ("BOTTOMPADDING", (0, 0), (-1, -1), size * 0.45),
                ("TOPPADDING", (0, 0), (-1, -1), size * 0.25),
            ]
        )
    )
    return table


def _facts(*facts: tuple[str, str], columns: int = 2) -> Table:
    """Names and values, in rows of so many."""
    cells: list[Any] = [
        cell for name, value in facts for cell in (_text(name, _style(8.5, colour=QUIET)), _text(value, _style(9)))
    ]
    per_row = 2 * columns
    rows = [cells[start : start + per_row] for start in range(0, len(cells), per_row)]
    name_width = 31 * mm if columns == 1 else 24 * mm
    table = Table(rows, colWidths=[name_width, WIDTH / columns - name_width] * columns, splitInRow=1)
    table.setStyle(
        TableStyle(
            [
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("LEFTPADDING", (0, 0), (-1, -1), 0),
                ("TOPPADDING", (0, 0), (-1, -1), 1.5),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 1.5),
            ]
        )
    )
    return table


def _grid(
    head: Sequence[str], rows: Sequence[Sequence[str]], shares: Sequence[float], *, right: int | None = None
) -> Table:
    """A table with lines; the column `right` is set flush right, as numbers are."""
    titles = [_text(title, _style(8, bold=True, colour=QUIET, right=at == right)) for at, title in enumerate(head)]
    body = [[_text(cell, _style(9, right=at == right)) for at, cell in enumerate(row)] for row in rows]
    cells: list[list[Any]] = [[*titles], *body]
    table = Table(cells, colWidths=[WIDTH * share for share in shares], repeatRows=1, splitInRow=1)
    table.setStyle(
        TableStyle(
            [
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("BACKGROUND", (0, 0), (-1, 0), SHADE),
                ("LINEBELOW", (0, 0), (-1, -1), 0.4, RULE),
                ("TOPPADDING", (0, 0), (-1, -1), 2),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 4),
            ]
        )
    )
    return table


def _no_padding() -> list[tuple[Any, ...]]:
    return [_cell(f"{side}PADDING", 0) for side in ("LEFT", "RIGHT", "TOP", "BOTTOM")]


def _cell(name: str, value: float) -> tuple[Any, ...]:
    return (name, (0, 0), (-1, -1), value)


def _template(buffer: BytesIO, stored: StoredPackage) -> BaseDocTemplate:
    template = BaseDocTemplate(
        buffer,
        pagesize=A4,
        invariant=1,
        title=f"Test report {stored.package_id}",
        author=stored.package.authorization.test_data.node_id,
        subject=f"Results of {stored.smart_contract_id}, {stored.content_hash}",
        creator="Smartfloor",
    )
    height = A4[1] - HEADER - FOOTER - 10 * mm
    frame = Frame(MARGIN, FOOTER + 4 * mm, WIDTH, height, leftPadding=0, rightPadding=0, topPadding=0, bottomPadding=0)
    template.addPageTemplates([PageTemplate(frames=[frame])])
    return template


def _numbered(stored: StoredPackage) -> Callable[..., Canvas]:
    """A canvas that knows how many pages there are when it draws what is around them."""

    class Numbered(Canvas):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self._pages: list[dict[str, Any]] = []

        def showPage(self) -> None:  # noqa: N802
            self._pages.append(dict(self.__dict__))
            self._startPage()  # type: ignore[attr-defined]

        def save(self) -> None:
            for page in self._pages:
                self.__dict__.update(page)
                _draw_around(self, stored, len(self._pages))
                super().showPage()
            super().save()

    return Numbered


def _draw_around(canvas: Canvas, stored: StoredPackage, pages: int) -> None:
    top, bottom = A4[1] - HEADER + 4 * mm, FOOTER - 3 * mm
    canvas.setStrokeColor(RULE)
    canvas.setLineWidth(0.5)
    canvas.line(MARGIN, top - 2 * mm, A4[0] - MARGIN, top - 2 * mm)
    canvas.line(MARGIN, bottom + 4 * mm, A4[0] - MARGIN, bottom + 4 * mm)
    canvas.setFillColor(QUIET)
    canvas.setFont(REGULAR, 7.5)
    canvas.drawString(MARGIN, top, stored.smart_contract_id)
    canvas.drawRightString(A4[0] - MARGIN, top, f"Client order {stored.clientpo_id}")
    canvas.drawString(MARGIN, bottom, f"{stored.package_id} · SHA-256 {stored.content_hash[:32]}")
    canvas.drawRightString(A4[0] - MARGIN, bottom, f"Page {canvas.getPageNumber()} of {pages}")


# --- fonts -----------------------------------------------------------------------------------------------------------


def _register(name: str) -> TTFont:
    """Read once in a process; the large ones only when a text needs them."""
    if name not in pdfmetrics.getRegisteredFontNames():
        file = f"{name if '-' in name else f'{name}-Regular'}.ttf"
        pdfmetrics.registerFont(TTFont(name, str(files("rendercv_fonts") / "Noto Sans" / file)))
    font = pdfmetrics.getFont(name)
    if not isinstance(font, TTFont):
        raise TypeError(f"{name} is not a TrueType font")
    return font


def _printable(text: str, font: str) -> str:
    """Markup for a paragraph in this font, in which every character is printed."""
    runs = groupby(text, key=lambda character: _font_for(character, font))
    return "".join(_run(name, "".join(characters), font) for name, characters in runs)


def _run(name: str | None, characters: str, font: str) -> str:
    if name is None:
        return " ".join(f"[U+{ord(character):04X}]" for character in characters)
    return escape(characters) if name == font else f'<font name="{name}">{escape(characters)}</font>'


def _font_for(character: str, font: str) -> str | None:
    if character.isspace():
        return font
    return next((name for name in (font, *FALLBACKS) if ord(character) in _register(name).face.charToGlyph), None)
