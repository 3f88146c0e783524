"""Names for containers that were given none: an adjective and a scientist, as Docker's and Podman's users expect."""

from __future__ import annotations

import os

_ADJECTIVES = (
    "agile amber ample bold brave brisk bright calm candid clever cosmic crisp curious daring deft eager earnest easy "
    "epic exact fair fancy fast fond frank fresh gentle glad golden grand happy hardy honest humble ideal jolly jovial "
    "keen kind lively loyal lucid lucky mellow merry mild modest neat nice nimble noble open patient plain polite "
    "prime proud quick quiet rapid ready serene sharp shiny silent simple sincere sleek smart snappy solid sound "
    "spry stable steady stoic sturdy sunny super sweet swift tender tidy tranquil upbeat vivid warm wise witty "
    "zealous zen"
).split()
_SURNAMES = (
    "abel ampere archimedes babbage bardeen bell bohr bose brahe bragg cantor cauchy chandra clarke curie dalton "
    "darwin davinci dijkstra dirac easley edison einstein elion euclid euler faraday fermat fermi feynman "
    "fibonacci fourier franklin galileo galois gauss germain goodall hamilton hawking heisenberg hertz hilbert hodgkin "
    "hopper "
    "hubble "
    "hypatia jackson johnson joliot kepler khorana knuth kovalevskaya lalande lamarr leakey leavitt leibniz lovelace "
    "maxwell mcclintock meitner mendel mirzakhani moser napier newton nightingale nobel noether pascal pasteur payne "
    "perlman planck poincare ptolemy raman ramanujan ride ritchie rubin saha sanger shannon snyder stonebraker "
    "tesla thompson torvalds turing volta wilson wozniak wright yalow yonath"
).split()


def random_name() -> str:
    first, second = os.urandom(2), os.urandom(2)
    adjective = _ADJECTIVES[int.from_bytes(first, "big") % len(_ADJECTIVES)]
    return f"{adjective}_{_SURNAMES[int.from_bytes(second, 'big') % len(_SURNAMES)]}"
