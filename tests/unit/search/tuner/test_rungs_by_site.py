"""A trial is stopped by trials that hold out the same site, never for the difficulty of its own."""

from search.tuner.pruning import AshaRule


def test_a_hard_site_stops_no_trial_and_a_weak_trial_is_stopped_at_its_site():
    rule = AshaRule(max_epochs=9)
    for number, value in enumerate((0.90, 0.91, 0.92, 0.93)):
        assert not rule.prune(number, "quick", 1, value, "easy") or number > 2
    for number, value in enumerate((0.50, 0.51, 0.52, 0.60), start=10):
        assert not rule.prune(number, "quick", 1, value, "hard"), "all others are of the easy site"
    assert rule.prune(20, "quick", 1, 0.4, "hard")
    assert rule.prune(21, "quick", 1, 0.6, "easy"), "as good as the best at the hard site"
