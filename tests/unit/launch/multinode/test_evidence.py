from __future__ import annotations

import json

from nimble_lightning.launch.multinode.messages import evidence_in_words, evidence_of_words, of_lost, together
from nimble_lightning.runs.heartbeat import Beat, Phase
from nimble_lightning.runs.outcome import Evidence, Hang, judge

COMPLAINT = {
    "rank": 0,
    "step": 7,
    "time": 100.0,
    "type": "RuntimeError",
    "message": "Connection closed by peer [10.0.0.2]:1",
    "bases": ["RuntimeError", "Exception"],
}


def full() -> Evidence:
    return Evidence(
        errors=[COMPLAINT],
        exit_codes={1: -9},
        beats={1: Beat(12, 3, 4.5, 7, Phase.SAVING)},
        gone={1: 99.0},
        hang=Hang(1, 7, 301.0, "in sleep"),
        out_of_memory=True,
        trouble="none came",
        lost={2: "node3"},
    )


def test_evidence_comes_through_words_as_it_was() -> None:
    assert evidence_of_words(json.loads(json.dumps(evidence_in_words(full())))) == full()


def test_what_several_know_is_what_each_knows() -> None:
    known = together(
        [Evidence(exit_codes={0: 1}, gone={0: 1.0}), Evidence(exit_codes={1: -9}, finished=True)]
    )
    assert (known.exit_codes, known.gone, known.finished) == ({0: 1, 1: -9}, {0: 1.0}, True)


def test_of_hanging_ranks_the_one_that_stopped_first_counts() -> None:
    known = together([Evidence(hang=Hang(0, 5, 300.0)), Evidence(hang=Hang(1, 5, 301.0)), Evidence()])
    assert known.hang is not None
    assert known.hang.rank == 1


def test_a_lost_node_is_the_cause_and_the_complaints_of_the_others_follow_from_it() -> None:
    outcome = judge(
        together([Evidence(errors=[COMPLAINT], trouble="no answer"), of_lost(range(2, 4), "node2")])
    )
    assert (outcome.cause, outcome.rank) == ("killed", 2)
    assert outcome.reason == "the node node2 was lost"
    assert not outcome.fingerprint
