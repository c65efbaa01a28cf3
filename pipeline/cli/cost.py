"""`nacim cost`: the cost of a design or of a table of designs, or the model compared with measured chips."""

from pathlib import Path
from typing import Annotated, Literal

import typer

AdcChoice = Literal["reference", "survey", "both"]


def cost(
    design: Annotated[
        Path | None, typer.Argument(metavar="[DESIGN.yaml]", help="A design, as `nacim export` writes it.")
    ] = None,
    table: Annotated[Path | None, typer.Option(help="CSV with one design per row, in NeuroSim's columns.")] = None,
    out: Annotated[Path | None, typer.Option(help="CSV file for the results of --table.")] = None,
    networks: Annotated[Path | None, typer.Option(help="JSON file with the networks that --table names.")] = None,
    activity: Annotated[
        Path | None,
        typer.Option(help="Activity CSV. For --table: id, layer, bit_density; a design: bit_density, mean_level."),
    ] = None,
    adc_model: Annotated[AdcChoice, typer.Option(help="Source of the ADC's energy per conversion.")] = "reference",
    anchors: Annotated[Path | None, typer.Option(help="Folder of measured chips to compare with.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Estimate area, latency and energy. Give exactly one of DESIGN.yaml, --table and --anchors."""
    from pipeline.cli.cost_tables import measured_chips, one_design, table_of_designs

    if sum(source is not None for source in (design, table, anchors)) != 1:
        raise ValueError("give exactly one of a design file, --table and --anchors; see nacim cost --help")
    if anchors is not None:
        measured_chips(anchors, as_json)
    elif table is not None:
        if out is None or adc_model == "both":
            raise ValueError("--table needs --out FILE.csv and one ADC model, reference or survey")
        table_of_designs(table, out, networks, activity, adc_model, as_json)
    elif design is not None:
        one_design(design, activity, adc_model, as_json)
