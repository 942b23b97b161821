"""What a decorator takes from the function that it declares: a description, hyperparameters."""

import inspect
import re
from collections.abc import Callable, Iterable

from gradnoise.parameters import Parameter


def first_sentence(declared: Callable[..., object]) -> str:
    """Return the first sentence of a docstring, or the name of a function without one.

    >>> def halve(x):
    ...     '''Return half of x. It is exact.'''
    >>> first_sentence(halve)
    'Return half of x.'
    """
    paragraph = (inspect.getdoc(declared) or "").partition("\n\n")[0]
    if not paragraph:
        return getattr(declared, "__name__", "")
    return re.split(r"(?<=[.!?])\s", " ".join(paragraph.split()), maxsplit=1)[0]


def hyperparameters(
    declared: Callable[..., object], given: Iterable[Parameter] = (), *, n_leading: int = 0
) -> tuple[Parameter, ...]:
    """Return a hyperparameter for each argument of a function, in order.

    Args:
        declared: The function. The annotation `int` of an argument, or a default of this type,
            makes a hyperparameter whole.
        given: Declarations that replace those of the arguments of the same names.
        n_leading: Leading arguments that are no hyperparameters.

    Raises:
        TypeError: If an argument has no name by which it can be given, such as `*args`.

    >>> def warm(lr: float, steps: int = 10): ...
    >>> [(each.name, each.integer) for each in hyperparameters(warm)]
    [('lr', False), ('steps', True)]
    """
    by_name = {parameter.name: parameter for parameter in given}
    arguments = list(inspect.signature(declared).parameters.values())[n_leading:]
    return tuple(by_name.get(each.name) or _hyperparameter(each) for each in arguments)


def _hyperparameter(argument: inspect.Parameter) -> Parameter:
    if argument.kind not in (argument.POSITIONAL_OR_KEYWORD, argument.KEYWORD_ONLY):
        raise TypeError(f"every argument must be a hyperparameter with a name, but got {argument}.")
    has_default = argument.default is not argument.empty
    is_whole = argument.annotation in (int, "int") or type(argument.default) is int
    return Parameter(
        name=argument.name,
        description=f"{argument.default!r} by default." if has_default else "",
        integer=is_whole,
    )
