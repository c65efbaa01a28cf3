"""The errors of a hardware description, and how messages repeat a value."""


class InfeasibleDesign(ValueError):
    """A combination of valid values that no chip can have, such as a crossbar narrower than one weight.

    A search prunes such a design. Every other exception is a defect or a mistake of the user.
    """


class CardError(ValueError):
    """An invalid device card; the message names the file, the field and the allowed range."""


def shown(value: object, most: int = 80) -> str:
    """A value as a message repeats it: its `repr`, cut to `most` characters."""
    text = repr(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."
