"""`nacim devices`: the cards of memory cells and the sources of their values."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.options import AsJson, print_json

if TYPE_CHECKING:
    from hw_models.devices import CellDevice, DeviceCard

devices = typer.Typer(no_args_is_help=True, help="Memory cells: cards with a source for every value.")
_HEADINGS = ("card", "cell", "Ron kOhm", "on/off", "levels", "sigma max", "on", "off", "read", "drift nu")
_MOST_BITS = 4  # assumed: of the picture of levels
_PICTURE = 40  # columns
CardName = Annotated[str, typer.Argument(metavar="CARD", help="Name of a card, or path of a YAML card.")]


@devices.command("list")
def list_cards(as_json: AsJson = False) -> None:
    """List the cards that come with nacim."""
    from rich import box
    from rich.console import Console
    from rich.table import Column, Table

    from hw_models.devices import load_card, shipped_card_names

    cards = [load_card(name) for name in shipped_card_names()]
    if as_json:
        print_json([_plain(card) for card in cards])
        return
    heads = [Column(heading, overflow="fold", min_width=max(map(len, heading.split()))) for heading in _HEADINGS]
    table = Table(*heads, box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for card in cards:
        table.add_row(*_summary(card))
    Console().print(table)
    for card in cards:
        print(f"{card.device.name}: {card.description}")


@devices.command("show")
def show_card(card: CardName, as_json: AsJson = False) -> None:
    """Show the values of a card and their sources."""
    from rich.console import Console
    from rich.table import Table

    from hw_models.devices import MEASURED_CELLS, load_card

    found = load_card(card)
    if as_json:
        print_json(_plain(found))
        return
    table = Table("value", "", "source", title=f"{found.device.name}: {found.description}", title_justify="left")
    for field, source in found.sources.items():
        shown = (
            f"{len(found.device.error_curves or ())} levels"
            if field == MEASURED_CELLS
            else _text(getattr(found.device, field))
        )
        table.add_row(field, shown, source)
    Console().print(table)


@devices.command("check")
def check_card(card: Annotated[Path, typer.Argument(metavar="CARD.yaml", help="A card file.")]) -> None:
    """Check that all values are there, in range and with a source, and say what was read."""
    from hw_models.devices import UNREAD_FIELDS, conductances_u, load_card

    found = load_card(card)
    assumed = [field for field, source in found.sources.items() if source.lower().startswith("assumed")]
    print(f"{card}: good. {len(found.sources)} values, assumed: {', '.join(assumed) or 'none'}.")
    low, high = (found.device.sigma_at(u) for u in (found.device.lowest_u, 1))
    most = max(map(found.device.sigma_at, conductances_u(found.device, 100)))
    for name in ("capacitor_sigma", "discharge_sigma"):
        if (mismatch := getattr(found.device, name)) is not None:
            print(f"{name}: what a stored 1 adds differs by {mismatch:.2%} from cell to cell.")
    of = "g_on" if found.device.g_on_siemens else "what a stored 1 adds"
    print(f"Programming errors: {low:.2%} of {of} at the lowest level, {high:.2%} at the highest, {most:.2%} at most.")
    _print_levels(found.device)
    print(f"Kept with the card, and read by no model: {', '.join(UNREAD_FIELDS)}.")
    if found.device.measured_spread == "cycle_to_cycle":
        print("measured_spread cycle_to_cycle: simulated chips leave out how cells differ from each other.")
    print(f"A study file in the same folder uses it as `hardware: {{device: [{card.name}]}}`.")


def _print_levels(device: "CellDevice") -> None:
    """Each level of a cell with its programming error, and a picture of where cells end up."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    bits = min(device.max_cell_bits, _MOST_BITS)
    if device.g_on_siemens is None:
        print("Levels: an sram cell stores one bit and has no conductances.")
        return
    title = f"Levels of a {bits}-bit cell; in the picture, two of three cells end up between the ends of a line"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for head in ("level", "g uS", "sigma % of g_on", "sigma uS"):
        table.add_column(head, justify="right")
    table.add_column("0 to 1.1 g_on", no_wrap=True)
    for level in range(2**bits):
        u = device.relative_conductance(level, bits)
        sigma, on_us = device.sigma_at(u), 1e6 * device.g_on_siemens
        picture = _spread(u, sigma)
        table.add_row(str(level), f"{u * on_us:.4g}", f"{100 * sigma:.2f}", f"{sigma * on_us:.3g}", picture)
    Console().print(table)


def _spread(u: float, sigma: float) -> str:
    """A line from one sigma below a relative conductance to one above, with a mark in its middle."""
    low, middle, high = (min(max(round(x / 1.1 * _PICTURE), 0), _PICTURE) for x in (u - sigma, u, u + sigma))
    line = [" "] * (_PICTURE + 1)
    line[low : high + 1] = "-" * (high + 1 - low)
    line[middle] = "O"
    return "".join(line)


def _plain(card: "DeviceCard") -> dict[str, object]:
    return {"description": card.description, "device": card.device.to_dict(), "sources": dict(card.sources)}


def _summary(card: "DeviceCard") -> list[str]:
    from hw_models.devices import conductances_u

    device = card.device
    return [
        device.name,
        device.cell,
        "-" if device.g_on_siemens is None else f"{device.r_on_ohm / 1e3:.4g}",
        "-" if device.on_off_ratio is None else f"{device.on_off_ratio:.4g}",
        str(device.conductance_levels),
        f"{max(map(device.sigma_at, conductances_u(device, 100))):.1%}",
        f"{device.sigma_at(1):.1%}",
        f"{device.sigma_at(device.lowest_u):.1%}",
        f"{device.read_sigma:.1%}",
        f"{device.drift_nu:.3g}",
    ]


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, tuple):
        return ", ".join(_text(each) for each in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)
