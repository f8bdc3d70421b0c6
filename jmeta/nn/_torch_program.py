"""A reader of the pickles that PyTorch writes, which imports and calls nothing.

`pickletools.genops` of the standard library takes a pickle apart without running it. Here each
instruction that a dictionary of tensors needs is a line, and every other one ends the reading.
"""

import pickletools
from typing import IO, Any, NamedTuple

_LONGEST = 5_000_000  # instructions
_MARK = object()
_EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
_VALUES = ("BINUNICODE", "SHORT_BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1")
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_DICTIONARY, _TENSOR = "collections OrderedDict", "torch._utils _rebuild_tensor_v2"
_STORAGES = {
    f"torch {kind}Storage" for kind in ("Float", "Double", "Half", "BFloat16", "Long", "Int")
}


class _Name(NamedTuple):
    """A name that the program mentions. It stands for itself."""

    text: str


class Storage(NamedTuple):
    """Numbers that tensors are parts of."""

    kind: str  # such as "FloatStorage"
    key: str
    length: int


class Tensor(NamedTuple):
    """A part of a storage, as the program describes it: unchecked."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def run(file: IO[bytes]) -> Any:
    """Return the value of the pickle at the position of a file, which is then behind it.

    Returns:
        A tree of dictionaries, lists, tuples, strings, whole numbers and `Tensor`.

    Raises:
        ValueError: the pickle is damaged, or does anything else than to describe tensors.
    """
    machine = _Machine()
    try:
        for count, (code, argument, _) in enumerate(pickletools.genops(file)):
            if code.name == "STOP":
                return machine.stack.pop()
            if count > _LONGEST:
                raise ValueError(f"its pickle has more than {_LONGEST} instructions.")
            machine.step(code.name, argument)
    except (IndexError, KeyError, TypeError, AttributeError) as error:
        raise ValueError("its pickle is damaged.") from error
    raise ValueError("its pickle is damaged.")


class _Machine:
    """The stack and the memory of a pickle."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def step(self, code: str, argument: Any) -> None:
        """Carry out one instruction."""
        stack = self.stack
        if code in _VALUES:
            stack.append(argument)
        elif code in _CONSTANTS:
            stack.append(_CONSTANTS[code])
        elif code in _EMPTY:
            stack.append(_EMPTY[code]())
        elif code == "MARK":
            stack.append(_MARK)
        elif code in _TUPLES:
            stack.append(tuple([stack.pop() for _ in range(_TUPLES[code])][::-1]))
        elif code == "TUPLE":
            stack.append(tuple(self._after_mark()))
        elif code in ("BINPUT", "LONG_BINPUT"):
            self._memo[argument] = stack[-1]
        elif code == "MEMOIZE":
            self._memo[len(self._memo)] = stack[-1]
        elif code in ("BINGET", "LONG_BINGET"):
            stack.append(self._memo[argument])
        elif code not in ("PROTO", "FRAME"):
            self._make(code, argument)

    def _make(self, code: str, argument: Any) -> None:
        """Carry out an instruction that changes a dictionary or a list, or makes a tensor."""
        stack = self.stack
        if code in ("SETITEM", "SETITEMS"):
            items = self._after_mark() if code == "SETITEMS" else [stack.pop(-2), stack.pop()]
            _put(stack[-1], items)
        elif code in ("APPEND", "APPENDS"):
            items = self._after_mark() if code == "APPENDS" else [stack.pop()]
            _require(type(stack[-1]) is list)
            stack[-1].extend(items)
        elif code == "GLOBAL":
            stack.append(_known(argument))
        elif code == "STACK_GLOBAL":
            name, module = stack.pop(), stack.pop()
            stack.append(_known(f"{module} {name}"))
        elif code == "BINPERSID":
            stack.append(_storage(stack.pop()))
        elif code == "REDUCE":
            arguments = stack.pop()
            stack.append(_reduced(stack.pop(), arguments))
        elif code == "BUILD":  # of the versions of the modules, which are not needed
            stack.pop()
            _require(type(stack[-1]) is dict)
        else:
            raise ValueError(f"its pickle has the instruction {code}, which no tensor needs.")

    def _after_mark(self) -> list[Any]:
        """Take what lies above the last mark."""
        items: list[Any] = []
        while (item := self.stack.pop()) is not _MARK:
            items.append(item)
        return items[::-1]


def _require(sound: bool) -> None:
    if not sound:
        raise ValueError("its pickle is damaged.")


def _known(name: str) -> _Name:
    """A name that a dictionary of tensors mentions."""
    if name not in (_DICTIONARY, _TENSOR) and name not in _STORAGES:
        raise ValueError(
            f"its pickle mentions {name[:80]!r}, which a dictionary of tensors does not; it is not "
            "run. Save model.state_dict(), or safetensors."
        )
    return _Name(name)


def _put(into: Any, items: list[Any]) -> None:
    """Put keys and values, one after another, into a dictionary."""
    _require(type(into) is dict and len(items) % 2 == 0)
    for key, value in zip(items[::2], items[1::2], strict=True):
        _require(type(key) is str)
        into[key] = value


def _storage(said: Any) -> Storage:
    """The storage ("storage", type, key, device, count), and None behind it in older files."""
    _require(type(said) is tuple and len(said) in (5, 6) and said[0] == "storage")
    _, kind, key, _, count = said[:5]
    _require(type(kind) is _Name and kind.text in _STORAGES and type(key) is str)
    _require(said[5:] in ((), (None,)))  # views of storages are not read
    return Storage(kind.text.removeprefix("torch "), key, count)


def _reduced(function: Any, arguments: Any) -> Any:
    """What a call stands for: an empty dictionary, or a tensor."""
    _require(type(function) is _Name and type(arguments) is tuple)
    if function.text == _DICTIONARY:
        _require(arguments == ())
        return {}
    _require(function.text == _TENSOR and len(arguments) >= 4)
    storage, offset, shape, strides = arguments[:4]
    _require(type(storage) is Storage and type(shape) is tuple and type(strides) is tuple)
    return Tensor(storage, offset, shape, strides)
