"""Batches: who is joined with whom, who waits, who is told to come again, and that nothing is computed in vain."""

import asyncio
import threading

import numpy as np
import pytest

from kerascnn.serve.batching import Batcher, Signature, batch_rows
from kerascnn.serve.metrics import Metrics
from kerascnn.serve.rest import RestError


class Model:
    """Doubles numbers once it may, and remembers what it was asked for. Negative ones are an error that names them."""

    def __init__(self, batched=True, key="double"):
        self.asked = []
        self.begun = threading.Semaphore(0)
        self.may = threading.Event()
        self.signature = Signature(key, self.run, batched)

    def run(self, inputs):
        self.asked.append(inputs["x"].tolist())
        self.begun.release()
        assert self.may.wait(60)
        for i in np.flatnonzero(inputs["x"].reshape(len(inputs["x"]), -1).min(axis=1) < 0):
            raise RestError(400, f"x[{i}] is negative")
        if (inputs["x"] == 13).any():
            raise RuntimeError("13")
        return {"y": 2 * inputs["x"]}

    async def has_begun(self):
        await asyncio.to_thread(self.begun.acquire, timeout=60)


def batcher(metrics=None, **options):
    options = {
        "max_batch_size": 4,
        "batch_timeout": 0.0,
        "max_queue": 100,
        "max_pixels": 1000,
        "threads": 1,
        **options,
    }
    return Batcher(metrics or Metrics(), **options)


def ask(batcher, model, *values, pixels=0, seconds=60.0):
    loop = asyncio.get_running_loop()
    inputs = {"x": np.array(values)}
    coroutine = batcher.compute(model.signature, inputs, [pixels] * len(values), loop.time() + seconds)
    return asyncio.ensure_future(coroutine)


async def queued(batcher, model, *requests, **options):
    """The tasks of requests that wait behind one that is being computed, which comes first."""
    first = ask(batcher, model, 0)
    await model.has_begun()
    tasks = [ask(batcher, model, *values, **options) for values in requests]
    await asyncio.sleep(0)  # each task runs up to where it waits
    return [first, *tasks]


def answers(results):
    return [result["y"].tolist() if isinstance(result, dict) else result for result in results]


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 60))


def test_what_waits_is_joined_up_to_the_size_and_each_gets_its_own():
    model = Model()

    async def scenario():
        joined = batcher()
        tasks = await queued(joined, model, [1], [2, 3], [4], [5], [6, 7, 8, 9])
        model.may.set()
        return answers(await asyncio.gather(*tasks))

    assert run(scenario()) == [[0], [2], [4, 6], [8], [10], [12, 14, 16, 18]]
    assert model.asked == [[0], [1, 2, 3, 4], [5], [6, 7, 8, 9]]


def test_without_batching_each_is_computed_by_itself():
    model = Model()

    async def scenario():
        joined = batcher(batching=False)
        tasks = await queued(joined, model, [1], [2, 3], [4, 5, 6, 7, 8, 9])
        model.may.set()
        return answers(await asyncio.gather(*tasks))

    assert run(scenario()) == [[0], [2], [4, 6], [8, 10, 12, 14, 16, 18]]
    assert model.asked == [[0], [1], [2, 3], [4, 5, 6, 7, 8, 9]]


def test_a_long_request_is_computed_in_pieces():
    model = Model()
    model.may.set()

    async def scenario():
        return (await ask(batcher(), model, *range(10)))["y"].tolist()

    assert run(scenario()) == [2 * i for i in range(10)]
    assert model.asked == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_the_images_of_a_batch_have_so_many_pixels_at_most():
    model = Model()

    async def scenario():
        joined = batcher()
        tasks = await queued(joined, model, [1], [2], [3], [4, 5, 6], pixels=500)
        model.may.set()
        return answers(await asyncio.gather(*tasks))

    assert run(scenario()) == [[0], [2], [4], [6], [8, 10, 12]]
    assert model.asked == [[0], [1, 2], [3], [4, 5], [6]]


def test_others_are_waited_for_until_the_batch_is_full():
    model = Model()
    model.may.set()

    async def scenario():
        joined = batcher(batch_timeout=3600)
        tasks = [ask(joined, model, i) for i in range(4)]
        return answers(await asyncio.gather(*tasks))

    assert run(scenario()) == [[0], [2], [4], [6]]
    assert model.asked == [[0, 1, 2, 3]]


def test_others_are_waited_for_no_longer_than_said():
    model = Model()
    model.may.set()

    async def scenario():
        return answers(await asyncio.gather(*(ask(batcher(batch_timeout=0.01), model, i) for i in (1, 2))))

    assert run(scenario()) == [[2], [4]]


def test_other_signatures_and_other_shapes_are_not_joined():
    model, other = Model(), Model(key="other")

    async def scenario():
        joined = batcher()
        first = ask(joined, model, 0)
        await model.has_begun()
        tasks = [first, ask(joined, model, 1), ask(joined, other, 2), ask(joined, model, [3, 3]), ask(joined, model, 4)]
        await asyncio.sleep(0)
        model.may.set(), other.may.set()
        return answers(await asyncio.gather(*tasks))

    assert run(scenario()) == [[0], [2], [4], [[6, 6]], [8]]
    assert model.asked == [[0], [1, 4], [[3, 3]]] and other.asked == [[2]]


def test_a_signature_without_a_batch_dimension_is_never_joined_or_split():
    model = Model(batched=False)

    async def scenario():
        joined = batcher()
        tasks = await queued(joined, model, [1, 2, 3, 4, 5, 6], [7], [8])
        model.may.set()
        return answers(await asyncio.gather(*tasks))

    assert run(scenario()) == [[0], [2, 4, 6, 8, 10, 12], [14], [16]]
    assert model.asked == [[0], [1, 2, 3, 4, 5, 6], [7], [8]]


def test_a_full_queue_sends_away_and_takes_again_when_there_is_room():
    model, metrics = Model(), Metrics()

    async def scenario():
        joined = batcher(metrics, max_queue=3)
        tasks = await queued(joined, model, [1, 2], [3])
        assert b"kerascnn_queue_images 3.0" in metrics.text()
        with pytest.raises(RestError, match="3 images wait already, of 3 that may") as error:
            await ask(joined, model, 4)
        assert error.value.status == 429 and int(error.value.headers["Retry-After"]) >= 1
        model.may.set()
        await asyncio.gather(*tasks)
        return answers([await ask(joined, model, 5)])

    assert run(scenario()) == [[10]]
    assert b"kerascnn_queue_images 0.0" in metrics.text()


def test_a_bad_request_does_not_spoil_those_it_was_joined_with():
    model = Model()

    async def scenario():
        joined = batcher()
        tasks = await queued(joined, model, [1], [2, -1], [3])
        model.may.set()
        return answers(await asyncio.gather(*tasks, return_exceptions=True))

    _, one, bad, three = run(scenario())
    assert one == [2] and three == [6]
    assert bad.status == 400 and bad.message == "x[1] is negative"
    assert model.asked == [[0], [1, 2, -1, 3], [1], [2, -1], [3]]


def test_an_error_in_a_piece_names_the_row_of_the_request():
    model = Model()
    model.may.set()

    async def scenario():
        await ask(batcher(), model, 0, 1, 2, 3, 4, 5, -6)

    with pytest.raises(RestError, match=r"x\[6\] is negative"):
        run(scenario())


def test_an_error_of_the_server_is_everyones():
    model = Model()

    async def scenario():
        joined = batcher()
        tasks = await queued(joined, model, [1], [13])
        model.may.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        return results, answers([await ask(joined, model, 2)])

    (first, *failed), after = run(scenario())
    assert first["y"].tolist() == [0] and after == [[4]]
    assert all(isinstance(error, RuntimeError) for error in failed)


def test_what_waits_beyond_its_deadline_is_not_computed():
    model, metrics = Model(), Metrics()

    async def scenario():
        joined = batcher(metrics)
        first, late, patient = await queued(joined, model, [1], [2], seconds=0.05)
        with pytest.raises(RestError, match="deadline") as error:
            await late
        assert error.value.status == 504
        with pytest.raises(RestError, match="deadline"):
            await patient
        assert b"kerascnn_queue_images 0.0" in metrics.text()
        model.may.set()
        return answers([await first])

    assert run(scenario()) == [[0]]
    assert model.asked == [[0]]


def test_a_deadline_that_has_passed_already():
    model = Model()

    async def scenario():
        with pytest.raises(RestError, match="deadline") as error:
            await ask(batcher(), model, 1, seconds=-1.0)
        assert error.value.status == 504

    run(scenario())
    assert model.asked == []


def test_what_nobody_waits_for_is_not_computed():
    model = Model()

    async def scenario():
        joined = batcher()
        first, gone, stays = await queued(joined, model, [1, 2, 3, 4, 5], [6])
        gone.cancel()
        await asyncio.sleep(0)
        model.may.set()
        assert (await asyncio.gather(gone, return_exceptions=True)) != []
        return answers(await asyncio.gather(first, stays))

    assert run(scenario()) == [[0], [12]]
    assert model.asked == [[0], [6]]


def test_threads_compute_at_the_same_time():
    model = Model()

    async def scenario():
        joined = batcher(threads=2, max_batch_size=1)
        tasks = [ask(joined, model, i) for i in range(2)]
        await model.has_begun()
        await model.has_begun()  # though none may end
        model.may.set()
        return answers(await asyncio.gather(*tasks))

    assert run(scenario()) == [[0], [2]]


def test_rows():
    assert batch_rows({"a": np.zeros((3, 2)), "b": np.zeros(3)}) == 3
    assert batch_rows({"a": np.zeros(3), "b": np.zeros(2)}) is None
    assert batch_rows({"a": np.zeros(3), "b": np.array(2)}) is None
