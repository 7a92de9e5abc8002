"""A study with sites: each family holds them out in turn, over interruptions and resumes, and trials are compared
without what is due to the site."""

from tests.inputs.made_studies import result, trials
from xraytune.records import FailureCause

SITES = ("Leeds", "Oslo", "Turin")


def test_each_family_holds_out_the_sites_in_turn_over_a_resume(make, tmp_path):
    study = make(sites=SITES)
    for number in range(12):
        asked = study.ask()
        study.complete(asked.number, result(0.5 + 0.01 * number))
    study.close()
    again = make(resume=True, sites=SITES)
    for _ in range(6):
        again.complete(again.ask().number, result(0.5))
    turns = {}
    for trial in trials(tmp_path):
        turns.setdefault(trial.family, []).append(trial.site)
    assert len(turns) > 1
    for held_out in turns.values():
        assert held_out == [SITES[i % 3] for i in range(len(held_out))]


def test_a_trial_that_was_cut_off_holds_out_the_same_site_again_and_counts_once(make):
    study = make(sites=SITES)
    first = study.ask()
    study.failed(first.number, FailureCause.INTERRUPTED, "")
    again = study.ask()
    assert again.config == first.config
    assert again.config.site == "Leeds"
    family = first.config.family
    later = next(asked for asked in (study.ask() for _ in range(40)) if asked.config.family == family)
    assert later.config.site == "Oslo"


def test_without_sites_no_trial_has_one(make, tmp_path):
    study = make()
    study.complete(study.ask().number, result(0.5))
    assert [t.site for t in trials(tmp_path)] == [""]
    assert trials(tmp_path)[0].compared == 0.5


def test_the_best_trial_is_the_one_that_is_best_for_its_site(make, tmp_path):
    study = make(sites=("easy", "hard"))
    asked = [study.ask() for _ in range(30)]
    worth = {a.number: 0.5 + 0.002 * a.number for a in asked}
    best = next(a for a in reversed(asked) if a.config.site == "hard")
    worth[best.number] = 0.7
    for a in asked:
        study.complete(a.number, result(worth[a.number] + (0.25 if a.config.site == "easy" else 0.0)))
    assert study.tally.best is not None
    assert study.tally.best.number == best.number
    view = study.view()
    assert view.best().number == best.number
    assert view.best().value == 0.7, "what is shown is what was measured"
    first, *others = view.ranked()
    assert all(first.compared >= other.compared for other in others)


def test_the_bayesian_sampler_knows_the_site_of_each_trial_after_a_resume_too(make, tmp_path):
    study = make(sites=SITES, sampler="bo")
    for _ in range(6):
        study.complete(study.ask().number, result(0.5))
    study.close()
    again = make(resume=True, sites=SITES, sampler="bo")
    again.complete(again.ask().number, result(0.5))
    held_out = [trial.site for trial in trials(tmp_path)]
    assert len(set(held_out)) > 1
    assert again._study.sampler._sites == held_out


def test_a_resume_with_other_sites_is_refused(make):
    import pytest

    from xraytune.errors import StudyError

    make(sites=SITES).close()
    with pytest.raises(StudyError, match=r"sites: \['Leeds', 'Oslo', 'Turin'\] in the study, \[\] now"):
        make(resume=True)
