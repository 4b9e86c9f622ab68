"""What a user should know of a model before getting it, as text."""

from __future__ import annotations

from html import escape

from slicer.i18n import tr as _

from LiverSegLib.labels import display_name
from LiverSegLib.models.catalogue import Entry
from LiverSegLib.models.installed import BUILT_IN_STATE, DAMAGED, INSTALLED, Listed
from LiverSegLib.models.spec import NOT_STATED
from LiverSegLib.models.transfer import size_text, time_text

_MOST_NAMES = 8


def rowTexts(listed: Listed) -> tuple[str, ...]:
    """A row of the list: title, images, size, and whether it is here."""
    entry = listed.entry
    return entry.title, entry.about.modality, sizeText(listed), stateText(listed)


def stateText(listed: Listed) -> str:
    """Whether the model is here, in a word."""
    texts = {BUILT_IN_STATE: _("comes with LiverSeg"), INSTALLED: _("installed"), DAMAGED: _("damaged")}
    return texts.get(listed.state, _("can be installed"))


def sizeText(listed: Listed) -> str:
    """Its bytes for people, "" where nobody knows."""
    return size_text(listed.bytes) if listed.bytes else ""


def targetsText(entry: Entry) -> str:
    """What it segments, the first names of many."""
    names = list(entry.about.targets or entry.about.names.values())
    shown = ", ".join(_lower(display_name(name)) for name in names[:_MOST_NAMES])
    more = len(names) - _MOST_NAMES
    return shown if more <= 0 else _("{names} and {count} more").format(names=shown, count=more)


def searchText(listed: Listed) -> str:
    """All words by which it can be found, in small letters."""
    entry = listed.entry
    about = entry.about
    names = [display_name(name) for name in (*about.targets, *about.names.values())]
    words = (entry.id, entry.title, about.modality, about.license, entry.note, stateText(listed), *names)
    return " ".join(words).lower()


def cardHtml(listed: Listed, others: list[Entry]) -> str:
    """Everything of one model for the pane of details; what a catalogue says is no markup.

    Args:
        listed: the model.
        others: what has to be installed with it.
    """
    entry = listed.entry
    about = entry.about
    rows = [
        (_("Segments"), escape(targetsText(entry))),
        (_("Images"), escape(_imagesText(entry))),
        (_("Published"), "<br>".join(_metricText(entry))),
        (_("Hardware"), "<br>".join(_hardwareText(entry))),
        (_("License"), _licenseHtml(entry)),
        (_("Trained on"), escape("" if about.data_source == NOT_STATED else about.data_source)),
        (_("Also installs"), escape(", ".join(_nameAndLicense(one) for one in others))),
        (_("Note"), escape(entry.note)),
        (_("Made by"), _link(entry.homepage, entry.homepage)),
        (_("Folder"), escape(str(listed.path or ""))),
    ]
    cells = "".join(
        f'<tr><td style="padding-right: 10px; color: gray">{name}</td><td>{text}</td></tr>'
        for name, text in rows
        if text
    )
    title = f"{entry.title} {about.version}".strip()
    return f'<p style="font-size: large"><b>{escape(title)}</b></p><table cellspacing="3">{cells}</table>'


def licenseText(entries: list[Entry]) -> str:
    """What is accepted, for the check box."""
    names = list(dict.fromkeys(entry.about.license for entry in entries))
    return _("I have read and accept the license ({names})").format(names=", ".join(names))


def _imagesText(entry: Entry) -> str:
    images = entry.about.modality or _("any image")
    return _("{images}, seen at {mm}").format(images=images, mm=entry.resolution) if entry.resolution else images


def _metricText(entry: Entry) -> list[str]:
    return [f"{escape(one.name)} {one.value:g} ({escape(one.source)})" for one in entry.metrics]


def _hardwareText(entry: Entry) -> list[str]:
    lines = []
    if entry.memory_gb:
        lines.append(_("A GPU needs {gb} GB of memory.").format(gb=f"{entry.memory_gb:g}"))
    for time in entry.timings:
        lines.append(f"{escape(time.device)}: {time_text(time.seconds)} ({escape(time.source)})")
    return lines


def _licenseHtml(entry: Entry) -> str:
    parts = [escape(entry.about.license), escape(entry.license_note), _link(entry.license_url, _("Read it"))]
    if entry.non_commercial:
        parts.insert(1, "<b>" + _("Not for commercial use.") + "</b>")
    return " ".join(part for part in parts if part)


def _nameAndLicense(entry: Entry) -> str:
    return f"{entry.title} ({entry.about.license})"


def _link(address: str, text: str) -> str:
    if not address.startswith(("https://", "http://")):
        return ""
    return f'<a href="{escape(address)}">{escape(text)}</a>'


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
