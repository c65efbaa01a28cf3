"""`nacim cost`: the cost of a design, a network or a table of designs, or the model compared with measured chips.

`cost` is long because its signature defines the options.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from pipeline.cli.options import AllowDigital, HardwareFile, Settings

AdcChoice = Literal["reference", "survey", "both"]


def cost(
    design: Annotated[
        str | None,
        typer.Argument(
            metavar="[DESIGN.yaml | FILE.py:FUNCTION | FAMILY | FILE.onnx]",
            help="A design, as `nacim export` writes it, or a network, for which --hardware names the accelerator.",
        ),
    ] = None,
    hardware: HardwareFile = None,
    input_size: Annotated[
        list[str] | None,
        typer.Option("--input", help="Size of an input without the batch, such as 3x32x32; ONNX: also NAME=3x32x32."),
    ] = None,
    integers: Annotated[
        bool, typer.Option("--integers", help="The input is whole numbers, such as indices of words (not for ONNX).")
    ] = False,
    classes: Annotated[int | None, typer.Option(help="Outputs of the network that a function builds; else 10.")] = None,
    settings: Settings = None,
    allow_digital: AllowDigital = None,
    table: Annotated[Path | None, typer.Option(help="CSV with one design per row, in NeuroSim's columns.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="CSV file for the results of --table, or a network's layers.")
    ] = None,
    networks: Annotated[Path | None, typer.Option(help="JSON file with the networks that --table names.")] = None,
    activity: Annotated[
        Path | None,
        typer.Option(help="Activity CSV. For --table: id, layer, bit_density; else: bit_density, mean_level."),
    ] = None,
    adc_model: Annotated[AdcChoice, typer.Option(help="Source of the ADC's energy per conversion.")] = "reference",
    anchors: Annotated[Path | None, typer.Option(help="Folder of measured chips to compare with.")] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(metavar="FILE.yaml", help="A measured macro of your own, which scales the silicon estimate."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Estimate area, latency and energy. Give exactly one of a design or network, --table and --anchors."""
    from pipeline.cli.cost_tables import measured_chips, one_design, table_of_designs

    if sum(source is not None for source in (design, table, anchors)) != 1:
        raise ValueError("give exactly one of a design file or network, --table and --anchors; see nacim cost --help")
    of_networks = {
        "--hardware": hardware,
        "--input": input_size,
        "--integers": integers,
        "--classes": classes,
        "--set": settings,
        "--allow-digital": allow_digital,
    }
    is_design = design is not None and (Path(design).suffix in (".yaml", ".yml", ".json") or Path(design).is_dir())
    if design is None or is_design:
        for option, value in of_networks.items():
            if value:
                raise ValueError(f"{option} belongs to a network (FILE.py:FUNCTION or FILE.onnx); remove it")
    if calibrate is not None and design is None:
        raise ValueError("--calibrate belongs to a design or network; remove it")
    if anchors is not None:
        measured_chips(anchors, as_json)
    elif table is not None:
        if out is None or adc_model == "both":
            raise ValueError("--table needs --out FILE.csv and one ADC model, reference or survey")
        table_of_designs(table, out, networks, activity, adc_model, as_json)
    elif design is not None and is_design:
        one_design(Path(design), activity, adc_model, as_json, calibrate)
    elif design is not None:
        from pipeline.cli.network_cost import Asked, network_cost

        asked = Asked(
            network=design,
            hardware=hardware,
            inputs=tuple(input_size or ()),
            integers=integers,
            classes=classes,
            settings=tuple(settings or ()),
            allow_digital=tuple(allow_digital or ()),
            calibrate=calibrate,
        )
        network_cost(asked, activity, adc_model, out, as_json)
