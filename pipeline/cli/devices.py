"""`nacim devices`: the cards of memory cells and the sources of their values."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.options import AsJson, print_json

if TYPE_CHECKING:
    from hw_models.devices import DeviceCard

devices = typer.Typer(no_args_is_help=True, help="Memory cells: cards with a source for every value.")
_HEADINGS = ("card", "cell", "R on kOhm", "on/off", "levels", "sigma max", "sigma on", "sigma off", "read", "drift nu")
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
    heads = [Column(heading, overflow="fold", no_wrap=heading == "card") for heading in _HEADINGS]
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

    from hw_models.devices import load_card

    found = load_card(card)
    if as_json:
        print_json(_plain(found))
        return
    table = Table("value", "", "source", title=f"{found.device.name}: {found.description}", title_justify="left")
    for field, source in found.sources.items():
        table.add_row(field, _text(getattr(found.device, field)), source)
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
    print(f"Programming errors: {low:.2%} of g_on at the lowest level, {high:.2%} at the highest, {most:.2%} at most.")
    print(f"Kept with the card, and read by no model: {', '.join(UNREAD_FIELDS)}.")
    if found.device.measured_spread == "cycle_to_cycle":
        print("measured_spread cycle_to_cycle: simulated chips leave out how cells differ from each other.")
    print(f"A study file in the same folder uses it as `hardware: {{device: [{card.name}]}}`.")


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
