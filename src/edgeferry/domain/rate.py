"""How sure one may be of a rate after so many trials, however often one looks. Pure.

The bounds are those of a confidence sequence by the method of mixtures (Robbins 1970): under any true rate p,
the Beta-binomial mixture's likelihood over that of p is a martingale of mean 1, which ever exceeds 1/alpha
with probability alpha at most (Ville 1939). So one may look after each trial, stop when one likes, go on
after having stopped, and the bounds still hold all at once.
"""

from __future__ import annotations

import math

Mixture = tuple[float, float]
SMALL: Mixture = (1.0, 10.0)
"""The Beta distribution to mix by where rates that matter are small."""
EVEN: Mixture = (1.0, 1.0)
"""Where none is likelier than another."""
_HALVINGS = 40


def least_rate(hits: float, trials: float, alpha: float, mixture: Mixture = SMALL) -> float:
    """What the true rate of hits is at least; wrong, ever, with probability `alpha` at most."""
    return _find_bound(hits, trials, alpha, mixture, 0.0) if trials > 0 and hits > 0 else 0.0


def most_rate(hits: float, trials: float, alpha: float, mixture: Mixture = SMALL) -> float:
    """What the true rate of hits is at most; wrong, ever, with probability `alpha` at most."""
    return _find_bound(hits, trials, alpha, mixture, 1.0) if trials > 0 and hits < trials else 1.0


def _find_bound(hits: float, trials: float, alpha: float, mixture: Mixture, beyond: float) -> float:
    """The rate between `beyond` (0 or 1) and the one seen, at which the evidence against it is 1/alpha."""
    a, b = mixture
    mixed = (
        math.lgamma(hits + a)
        + math.lgamma(trials - hits + b)
        - math.lgamma(trials + a + b)
        - (math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b))
        + math.log(alpha)
    )
    near, far = hits / trials, beyond
    for _ in range(_HALVINGS):
        middle = (near + far) / 2
        if middle in (0.0, 1.0):
            break
        likelihood = hits * math.log(middle) + (trials - hits) * math.log1p(-middle)
        if mixed >= likelihood:
            far = middle
        else:
            near = middle
    return far
