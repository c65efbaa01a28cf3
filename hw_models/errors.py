"""The two ways in which a hardware description can be refused."""


class InfeasibleDesign(ValueError):
    """A combination of valid values that no chip can have, such as a crossbar narrower than one weight.

    A search prunes such a design; every other exception is a defect or a mistake of the user.
    """


class CardError(ValueError):
    """A device card that cannot be read; the message names the file, the field and the allowed range."""
