from typing import Any

__all__ = ["to_analog", "to_digital"]


def __getattr__(name: str) -> Any:
    """`to_analog` and `to_digital` on first use, so that importing the package loads no torch."""
    if name in __all__:
        from pipeline.analog import conversion

        return getattr(conversion, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
