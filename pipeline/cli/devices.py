"""`nacim devices`: the memory cells, with where each of their values comes from."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hw_models.devices import CellDevice, DeviceCard

devices = typer.Typer(no_args_is_help=True, help="The memory cells: cards with a source for every value.")
CardName = Annotated[str, typer.Argument(metavar="CARD", help="Name of a card, or path of a YAML card.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@devices.command("list")
def list_cards(as_json: AsJson = False) -> None:
    """List the cards that come with nacim."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from hw_models.devices import load_card, shipped_card_names

    cards = [load_card(name) for name in shipped_card_names()]
    if as_json:
        print(json.dumps([_plain(card) for card in cards], indent=2))
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in (
        "card",
        "cell",
        "R on kOhm",
        "on/off",
        "levels",
        "sigma max",
        "sigma on",
        "sigma off",
        "read",
        "drift nu",
    ):
        table.add_column(heading, overflow="fold", no_wrap=heading == "card")
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
        print(json.dumps(_plain(found), indent=2))
        return
    table = Table(title=f"{found.device.name}: {found.description}", title_justify="left")
    for heading in ("value", "", "source"):
        table.add_column(heading)
    for field, source in found.sources.items():
        table.add_row(field, _text(getattr(found.device, field)), source)
    Console().print(table)


@devices.command("check")
def check_card(card: Annotated[Path, typer.Argument(metavar="CARD.yaml", help="A card file.")]) -> None:
    """Check a card: every value there, in its range, with a source."""
    from hw_models.devices import load_card

    found = load_card(card)
    assumed = [field for field, source in found.sources.items() if source.lower().startswith("assumed")]
    print(f"{card}: good. {len(found.sources)} values, assumed: {', '.join(assumed) or 'none'}.")
    print(f"A study file in the same folder uses it as `hardware: {{device: [{card.name}]}}`.")


def _plain(card: "DeviceCard") -> dict[str, object]:
    return {"description": card.description, "device": card.device.to_dict(), "sources": dict(card.sources)}


def _summary(card: "DeviceCard") -> list[str]:
    device = card.device
    return [
        device.name,
        device.cell,
        "-" if device.g_on_siemens is None else f"{device.r_on_ohm / 1e3:.4g}",
        "-" if device.on_off_ratio is None else f"{device.on_off_ratio:.4g}",
        str(device.conductance_levels),
        f"{max(map(device.sigma_at, _conductances(device))):.1%}",
        f"{device.sigma_at(1):.1%}",
        f"{device.sigma_at(_lowest(device)):.1%}",
        f"{device.read_sigma:.1%}",
        f"{device.drift_nu:.3g}",
    ]


def _conductances(device: "CellDevice") -> list[float]:
    """From off to on in equal steps, relative to on."""
    lowest = _lowest(device)
    return [lowest + (1 - lowest) * step / 100 for step in range(101)]


def _lowest(device: "CellDevice") -> float:
    return 0.0 if device.on_off_ratio is None else 1 / device.on_off_ratio


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, tuple):
        return ", ".join(_text(each) for each in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)
