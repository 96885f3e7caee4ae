"""The judge says of public problem sets what is known: reference solutions pass, released labels come out."""

import pytest

from bench.agreement import EXPLAINED, SETS, disagreements, read


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "every"),
    [("mbpp", 1), ("mbpp-challenge", 1), ("humaneval", 1), ("coderl-labels", 1), ("leetcode", 10), ("codecontests", 20)],
)
def test_what_is_known_comes_out(shared, name, every):
    make, file, settings = SETS[name]
    cases = make(read(shared / "data" / file))[::every]
    assert len(cases) >= 9
    assert [(case, verdict) for case, verdict in disagreements(cases, settings) if case.name not in EXPLAINED] == []
