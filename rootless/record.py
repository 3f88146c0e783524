"""Frozen records that cost nothing to import.

`typing.NamedTuple` and `dataclasses` cost 8 and 12 ms to import, a fifth of the whole start of a container each;
this module imports nothing. Type checkers see a frozen dataclass (PEP 681).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self, dataclass_transform
else:

    def dataclass_transform(**_: object) -> object:
        return lambda cls: cls


@dataclass_transform(frozen_default=True)
class Record:
    """Base of frozen records: the annotated names of a subclass are its fields, class attributes its defaults.

    A default must be immutable: it is shared.
    """

    _fields: tuple[str, ...] = ()

    def __init_subclass__(cls) -> None:
        inherited = [name for base in reversed(cls.__mro__[1:]) for name in getattr(base, "_fields", ())]
        own = [name for name in cls.__annotations__ if not name.startswith("_")]
        cls._fields = tuple(dict.fromkeys([*inherited, *own]))

    def __init__(self, *args: object, **kwargs: object) -> None:
        values = self.__dict__
        values.update(zip(self._fields, args))  # noqa: B905 -- too many arguments are caught below
        values.update(kwargs)
        if len(values) != len(args) + len(kwargs) or not values.keys() <= set(self._fields):
            raise TypeError(f"{type(self).__name__}: unexpected arguments {args} {sorted(kwargs)}")
        missing = [name for name in self._fields if name not in values and not hasattr(type(self), name)]
        if missing:
            raise TypeError(f"{type(self).__name__} needs {', '.join(missing)}")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} is read-only")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.as_dict() == other.as_dict()

    def __hash__(self) -> int:
        return hash((type(self), *(getattr(self, name) for name in self._fields)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in self._fields)})"

    def as_dict(self) -> dict[str, Any]:
        """Return the fields in the order of their declaration, nested records unchanged."""
        return {name: getattr(self, name) for name in self._fields}

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed."""
        return type(self)(**{**self.as_dict(), **changes})
