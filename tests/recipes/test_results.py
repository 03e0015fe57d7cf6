"""What the cards claim is what docs/results.md has; only `python -m tools.results` writes numbers into both."""

from tools import results


def test_the_cards_claim_what_was_measured():
    assert results.check(results.PAGE, results.CARDS) == [], "run python -m tools.results"
