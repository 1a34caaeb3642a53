"""Elementary functions that are fast on CPUs in double precision, in place of XLA's own.

On a CPU, XLA makes no vector instructions of a power, an arc tangent or its hyperbolic brother of
64-bit numbers: they took two thirds of the time of a simulated lens. Those of this module are made
of what it does vectorise, and agree with the originals to a few units of the last digit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Literal

# A double is (1 + fraction) 2^(exponent - 1023), its fraction in the lowest 52 bits. Numbers are
# split where the fraction is that of sqrt(1/2), so that logarithms are around zero.
_FRACTION_BITS, _BIAS = 52, 1023
_ONE = np.float64(1.0).view(np.int64)
_SPLIT = np.sqrt(0.5).view(np.int64)
# As bits above an integer below 2^52, these make it a double, larger by 2^52.
_MAGIC = np.float64(2.0**_FRACTION_BITS).view(np.int64)
# Of log((1 + s) / (1 - s)) = 2 s + s z P(z), z = s^2, for |s| < 0.172, highest power first: fdlibm,
# e_log.c (Sun Microsystems 1993), which also is how logarithms are reduced.
_LOG = (
    1.479819860511658591e-1,
    1.531383769920937332e-1,
    1.818357216161805012e-1,
    2.222219843214978396e-1,
    2.857142874366239149e-1,
    3.999999999940941908e-1,
    6.666666666666735130e-1,
)
# Of arctan(z) = z + z w P(w) / Q(w), w = z^2, for |z| < 0.66, highest power first: Cephes, atan.c
# (S. L. Moshier 1989).
_ARCTAN_P = (
    -8.750608600031904122785e-1,
    -1.615753718733365076637e1,
    -7.500855792314704667340e1,
    -1.228866684490136173410e2,
    -6.485021904942025371773e1,
)
_ARCTAN_Q = (
    1.0,
    2.485846490142306297962e1,
    1.650270098316988542046e2,
    4.328810604912902668951e2,
    4.853903996359136964868e2,
    1.945506571482613964425e2,
)
_MIDDLE, _LARGE = 0.66, 1.0 + np.sqrt(2.0)
_TINY = np.finfo(np.float64).tiny


def power(base: Any, exponent: Any) -> Any:
    """``base ** exponent``; NaN where the base is negative."""
    exponents, mantissas = _split(jnp.maximum(base, _TINY))
    log = exponents * np.log(2.0) + _log_ratio((mantissas - 1.0) / (mantissas + 1.0))
    return jnp.where(base >= 0.0, jnp.exp(exponent * log), jnp.nan)


def arctanh(x: Any) -> Any:
    """The number whose hyperbolic tangent is x; NaN where that is beyond 1."""
    size = jnp.abs(x)
    exponents, mantissas = _split((1.0 + x) / (1.0 - x))
    # Where x is small it is s itself, which loses no digit.
    s = jnp.where(exponents == 0.0, x, (mantissas - 1.0) / (mantissas + 1.0))
    value = 0.5 * (exponents * np.log(2.0) + _log_ratio(s))
    return jnp.where(size < 1.0, value, jnp.where(size > 1.0, jnp.nan, x * jnp.inf))


def arctan(x: Any) -> Any:
    """The angle in [-pi/2, pi/2] whose tangent is x."""
    size = jnp.abs(x)
    is_middle, is_large = size > _MIDDLE, size > _LARGE
    # arctan(a) = pi/4 + arctan((a - 1) / (a + 1)) = pi/2 - arctan(1 / a).
    above = jnp.where(is_large, -1.0, jnp.where(is_middle, size - 1.0, size))
    below = jnp.where(is_large, size, jnp.where(is_middle, size + 1.0, 1.0))
    start = jnp.where(is_large, 0.5 * np.pi, jnp.where(is_middle, 0.25 * np.pi, 0.0))
    z = above / below
    w = z * z
    value = start + z + z * w * _polynomial(_ARCTAN_P, w) / _polynomial(_ARCTAN_Q, w)
    return jnp.copysign(value, x)


def _split(x: Any) -> tuple[Any, Any]:
    """Positive numbers as 2^exponent times a mantissa between sqrt(1/2) and sqrt(2)."""
    bits = lax.bitcast_convert_type(x, jnp.int64)
    shift = jnp.full(bits.shape, _FRACTION_BITS)
    biased = lax.shift_right_logical(bits + (_ONE - _SPLIT), shift)
    # Processors convert few integers to doubles at once, and shift none with their sign.
    exponents = lax.bitcast_convert_type(biased | _MAGIC, jnp.float64)
    mantissas = bits - lax.shift_left(biased - _BIAS, shift)
    return exponents - (2.0**_FRACTION_BITS + _BIAS), lax.bitcast_convert_type(
        mantissas, jnp.float64
    )


def _log_ratio(s: Any) -> Any:
    """log((1 + s) / (1 - s)) for |s| < 0.172."""
    z = s * s
    return s * (2.0 + z * _polynomial(_LOG, z))


def _polynomial(coefficients: Sequence[float], x: Any) -> Any:
    value: Any = coefficients[0]
    for coefficient in coefficients[1:]:
        value = value * x + coefficient
    return value


_FUNCTIONS = {lax.pow_p: power, lax.atan_p: arctan, lax.atanh_p: arctanh}
# Functions within a function, which are opened; loops and branches stay as they are.
_CALLS = {"jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call"}


def accelerated(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function with the elementary functions of this module in place of XLA's own.

    Parameters
    ----------
    function
        Of JAX arrays, which returns one array.

    Returns
    -------
    callable
        The same function, but for the last digits of its values. It cannot be differentiated.
    """

    def faster(*arguments: Any) -> Any:
        closed = jax.make_jaxpr(function)(*arguments)
        (value,) = _evaluate(closed.jaxpr, closed.consts, arguments)
        return value

    return faster


def _evaluate(jaxpr: Any, constants: Sequence[Any], arguments: Sequence[Any]) -> list[Any]:
    """Carry out the operations that JAX recorded of a function, one by one."""
    values = dict(zip(jaxpr.constvars, constants, strict=True))
    values.update(zip(jaxpr.invars, arguments, strict=True))

    def value_of(variable: Any) -> Any:
        return variable.val if isinstance(variable, Literal) else values[variable]

    for operation in jaxpr.eqns:
        primitive, parameters = operation.primitive, operation.params
        operands = [value_of(variable) for variable in operation.invars]
        inner = parameters.get("jaxpr") or parameters.get("call_jaxpr")
        if primitive in _FUNCTIONS and _is_worth_it(operation):
            results = [_FUNCTIONS[primitive](*operands)]
        elif primitive.name in _CALLS:
            results = _evaluate(inner.jaxpr, inner.consts, operands)
        else:
            results = primitive.bind(*operands, **parameters)
            results = results if primitive.multiple_results else [results]
        values.update(zip(operation.outvars, results, strict=True))
    return [value_of(variable) for variable in jaxpr.outvars]


def _is_worth_it(operation: Any) -> bool:
    """Whether an operation is on many doubles; XLA has its own ways with squares and roots."""
    result = operation.outvars[0].aval
    is_constant = isinstance(operation.invars[-1], Literal)
    return result.dtype == jnp.float64 and result.ndim > 0 and not is_constant
