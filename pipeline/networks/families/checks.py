"""What several families ask of their parameters. `nacim export` writes these functions into the family's file."""

from hw_models.errors import InfeasibleDesign
from hw_models.number_format import check_whole


def check_image(family: str, input: tuple[int, ...]) -> None:
    """Raise an InfeasibleDesign unless inputs have channels, height and width."""
    if len(input) != 3:
        raise InfeasibleDesign(f"a {family} needs images of (channels, height, width), got inputs of {input}")


def check_kernel(kernel: int) -> None:
    """Raise a ValueError unless the side of a kernel is odd and 1 to 7."""
    check_whole("kernel", kernel, 1, 7)
    if kernel % 2 == 0:
        raise ValueError(f"kernel must be odd, so that padding keeps the image centred, got {kernel}")


def stage_widths(*given: int | None) -> list[int]:
    """Filters of each stage, 1 to 2048 where given; None: twice those of the stage before.

    Raises:
        ValueError: If a given value is out of its range.
    """
    widths: list[int] = []
    for number, width in enumerate(given, start=1):
        widths.append(2 * widths[-1] if width is None else width)
        if width is not None:
            check_whole(f"width{number}", width, 1, 2048)
    return widths
