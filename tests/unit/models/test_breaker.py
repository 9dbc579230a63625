"""Circuits: a route that failed several times in a row is left alone, tried by one call, and bounded in number."""

from tenantry.models.breaker import CLOSED, FAILURES, LONGEST_OPEN_S, OPEN_S, TRIAL_S, Circuit, Circuits, admit, failed

ROUTE = ("", "gpt", "")


def opened(now: float = 0.0) -> Circuit:
    circuit = CLOSED
    for _ in range(FAILURES):
        circuit = failed(circuit, now)
    return circuit


def test_fewer_failures_in_a_row_than_the_limit_refuse_nothing() -> None:
    circuit = CLOSED
    for _ in range(FAILURES - 1):
        circuit = failed(circuit, 0.0)
        assert admit(circuit, 0.0)[1] == 0.0


def test_an_open_circuit_says_how_long_to_wait() -> None:
    assert admit(opened(), 1.0)[1] == OPEN_S - 1.0


def test_after_its_time_one_call_tries_and_the_others_wait() -> None:
    circuit, wait_s = admit(opened(), OPEN_S)
    assert wait_s == 0.0
    assert admit(circuit, OPEN_S)[1] > 0.0
    assert admit(circuit, OPEN_S + TRIAL_S)[1] == 0.0, "a trial that never came back is forgotten"


def test_each_failed_trial_doubles_the_time_up_to_the_longest() -> None:
    circuit = opened()
    waits: list[float] = []
    for _ in range(6):
        circuit = failed(circuit, 0.0)
        waits.append(circuit.open_until)
    assert waits == [2 * OPEN_S, 4 * OPEN_S, 8 * OPEN_S, LONGEST_OPEN_S, LONGEST_OPEN_S, LONGEST_OPEN_S]


def test_an_answer_closes_the_circuit_and_a_cancelled_trial_lets_the_next_one_try() -> None:
    circuits = Circuits()
    for _ in range(FAILURES):
        circuits.failed(ROUTE, 0.0)
    assert circuits.admit(ROUTE, OPEN_S) == 0.0
    assert circuits.admit(ROUTE, OPEN_S) > 0.0
    circuits.released(ROUTE)
    assert circuits.admit(ROUTE, OPEN_S) == 0.0
    circuits.succeeded(ROUTE)
    circuits.failed(ROUTE, OPEN_S)
    assert circuits.admit(ROUTE, OPEN_S) == 0.0, "the count began anew"


def test_an_answer_between_failures_keeps_the_circuit_closed() -> None:
    circuits = Circuits()
    for _ in range(3 * FAILURES):
        circuits.failed(ROUTE, 0.0)
        circuits.succeeded(ROUTE)
    assert circuits.admit(ROUTE, 0.0) == 0.0


def test_one_payers_failures_do_not_pause_another() -> None:
    circuits = Circuits()
    for _ in range(FAILURES):
        circuits.failed(("", "gpt", "acme"), 0.0)
    assert circuits.admit(("", "gpt", "acme"), 0.0) > 0.0
    assert circuits.admit(("", "gpt", "globex"), 0.0) == 0.0


def test_only_so_many_circuits_are_kept() -> None:
    circuits = Circuits(size=3)
    for number in range(10):
        for _ in range(FAILURES):
            circuits.failed(number, 0.0)
    assert [number for number in range(10) if circuits.admit(number, 0.0)] == [7, 8, 9]
