"""The predictions of `python -m tools.scaling`: their arithmetic, their page, their flags."""

import concurrent.futures
import math
import pathlib
import socket
import subprocess
import sys

import numpy as np
import pytest

import kerascnn
from kerascnn import registry
from tools import scaling

DOCS = pathlib.Path(scaling.PAGE).parent
INPUTS = {flag: value for flag, value, *_ in scaling.INPUTS}


@pytest.fixture(scope="module")
def prediction():
    return scaling.prediction(scaling.RATES, [8, 64, 512])


def rows(text, model):
    """The cells of a model's rows, table by table."""
    found = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith(f"| `{model}` |")]
    return [[cell.replace(",", "").rstrip("%") for cell in cells[1:]] for cells in found]


def test_the_page_is_current(prediction):
    page = scaling.PAGE.read_text("utf-8")
    assert scaling.with_tables(page, prediction) == page, "run python -m tools.scaling --write"
    with pytest.raises(ValueError, match="lacks the lines <!-- scaling: begin --> and <!-- scaling: end -->"):
        scaling.with_tables("# A\n", prediction)


def test_numbers_of_the_page_that_stand_outside_of_its_tables():
    page = " ".join(scaling.PAGE.read_text("utf-8").split())
    alone = scaling.prediction({"resnet50": scaling.RATES["resnet50"]}, [8], synchronized=False)
    no_overlap = rows(alone, "resnet50")[1][6]
    assert f"it predicts {no_overlap} % on 8 A100s" in page
    assert f"17,400 images/s, {17400 / (8 * 2375):.1%}".replace("%", " %") in page
    assert "<!-- measured bytes -->" in page or "counted / predicted" in page


def test_the_cost_of_an_image_is_what_the_benchmark_says():
    """images/s and ms of a core, of our pipeline to uint8, with the crop in the row's first task."""
    text = (DOCS / "benchmarks.md").read_text("utf-8")
    task = text.partition("| random resized crop to 224, flip, normalise |")[2]
    ours = next(line for line in task.splitlines() if line.startswith("| | ours | uint8 |"))
    assert float(ours.split("|")[5]) == INPUTS["image_cpu"]


def machines(**others):
    units = {"replicas_per_machine": 4, "bandwidth": 10.0, "latency": 5.0, "inside_bandwidth": 100.0}
    return scaling.Machines(**units | {"inside_latency": 2.0, "launch": 7.0} | others)


def ring_all_reduce(values):
    """The algorithm itself: in n - 1 steps each replica adds what it gets, in n - 1 more it takes what it gets.

    Returns the parts of each replica, and how many numbers each has sent.
    """
    count = len(values)
    parts = [np.split(value.copy(), count) for value in values]
    sent = [0] * count
    for step in range(2 * (count - 1)):
        moving = [(replica - step) % count for replica in range(count)]
        copies = [parts[replica][part].copy() for replica, part in enumerate(moving)]
        for replica, part in enumerate(moving):
            to = (replica + 1) % count
            parts[to][part] = parts[to][part] + copies[replica] if step < count - 1 else copies[replica]
            sent[replica] += copies[replica].size
    return [np.concatenate(own) for own in parts], sent


@pytest.mark.parametrize("count", [2, 3, 8])
def test_a_ring_sends_so_much(count):
    values = np.random.default_rng(0).normal(size=(count, 5 * count))
    reduced, sent = ring_all_reduce(values)
    np.testing.assert_allclose(reduced, [values.sum(0)] * count)
    assert sent == [scaling.sent(5 * count, count)] * count
    assert scaling.sent(1000, 1) == 0


def slowest_way_around(links):
    """Seconds for a part to go twice around a ring but for one hop, at worst over where it begins."""
    hops = len(links) - 1
    return max(2 * sum(links[(start + hop) % len(links)] for hop in range(hops)) for start in range(len(links)))


@pytest.mark.parametrize(("replicas", "per_machine"), [(2, 4), (4, 4), (8, 4), (3, 1), (32, 8)])
def test_a_ring_takes_so_long(replicas, per_machine):
    cost = scaling.ring(machines(replicas_per_machine=per_machine), replicas)
    # A link behind each replica: out of its machine where it is the last one there.
    out = [replicas > per_machine and (replica + 1) % per_machine == 0 for replica in range(replicas)]
    assert cost.start == pytest.approx(1e-6 * (7 + slowest_way_around([5.0 if leaves else 2.0 for leaves in out])))
    narrowest = 10e9 if any(out) else 100e9
    assert cost.per_byte == pytest.approx(2 * (replicas - 1) / replicas / narrowest)


@pytest.mark.parametrize(("replicas", "up"), [(4, 0), (8, 1), (16, 2), (20, 3)])
def test_the_hierarchical_form_takes_so_long(replicas, up):
    cost = scaling.hierarchical(machines(), replicas)
    count = replicas // 4
    assert cost.start == pytest.approx(1e-6 * (7 + 2 * 3 * 2 + 2 * up * 5))
    # In a machine each GPU scatters and gathers 3/4 of the bytes; then the machines reduce all over one network.
    assert cost.per_byte == pytest.approx(1.5 / 100e9 + 2 * (count - 1) / count / 10e9)


def test_in_one_machine_both_forms_are_one():
    for replicas in (1, 2, 4):
        assert scaling.ring(machines(), replicas) == pytest.approx(scaling.hierarchical(machines(), replicas))


def test_time_of_reductions_and_efficiency():
    assert scaling.seconds(scaling.Cost(2.0, 0.5), 10.0, 3) == 3 * 2 + 5
    assert scaling.efficiency(6.0, 3.0, 1.0) == 0.6
    assert scaling.efficiency(6.0, 3.0, 1.0, hidden=2.0) == 0.75
    assert scaling.efficiency(6.0, 3.0, 2.0, hidden=4.0) == 0.75  # what layers wait for is never hidden


@pytest.mark.parametrize("name", ["resnet20_cifar", "lenet5"])
def test_what_a_model_reduces(name):
    model = kerascnn.create_model(name)
    channels = scaling.norm_channels(model)
    facts = registry.facts()[name]
    assert 2 * sum(channels) == facts["params"] - facts["trainable_params"]  # a mean and a variance of each
    work = scaling.reduced(facts["trainable_params"], channels)
    assert work.gradients == sum(weight.numpy().nbytes for weight in model.trainable_variables)
    assert work.others == 5 * 4 * sum(channels) + 12
    assert work.reductions == 5 * len(channels) + 1
    assert len(channels) == {"resnet20_cifar": 19, "lenet5": 0}[name]


def test_tables(prediction):
    size, small, _, _, input_of = rows(prediction, "vgg16")
    assert size == ["138357544", "553.4", "0.00", "2", "968.5", "1089.6", "1104.7"]
    rate = 546.06 * 2375 / 1218.01
    computing = 256 / rate
    gradients = 7 / 4 * 553.430176e6 / 235e9 + (10 + 14 * 1.9) * 1e-6
    metrics = 7 / 4 * 12 / 235e9 + (10 + 14 * 1.9) * 1e-6
    whole = computing / (computing + gradients + metrics)
    hidden = computing / (computing + metrics)
    assert small[:4] == ["8", f"{1e3 * computing:.1f}", f"{1e3 * gradients:.2f}", f"{1e3 * gradients:.2f}"]
    assert small[6:] == [f"{100 * whole:.1f}"] * 2 + [f"{100 * hidden:.1f}"] * 2
    flops = 6 * 15470264320 * rate / 1e12
    assert input_of[:3] == [f"{rate:.0f}", f"{flops:.1f}", f"{8 * rate:.0f}"]
    assert input_of[3] == f"{8 * rate * 115440 / 1e6:.0f}" and input_of[4] == f"{8 * rate * 1.05e-3:.1f}"


def test_flags_take_the_place_of_inputs():
    text = scaling.prediction({"lenet5": (1000.0, "the command line")}, [16], {"batch_size": 50, "bandwidth": 1.0})
    assert "| `--bandwidth` | 1 | GB/s of a machine's network, each way | the command line |" in text
    assert "| `--images_per_second` | 1,000 | that a replica trains on, `lenet5` | the command line |" in text
    size, step, _ = rows(text, "lenet5")[-3:]
    assert size[0] == "61706" and step[:2] == ["16", "50.0"]


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "tools.scaling", *arguments], capture_output=True, text=True, timeout=300
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model=resnet5"], "no model 'resnet5': did you mean"),
        (["--model=lenet5"], "nothing is known of how quick lenet5 is: give --images_per_second."),
        (["--images_per_second=1,2"], "give one number, or one for each of resnet50, mobilenet_v2, vgg16."),
        (["--images_per_second=0"], "--images_per_second='0': give positive numbers with commas between."),
        (["--replicas=8,x"], "--replicas='8,x': give positive numbers with commas between."),
        (["--replicas=12"], "--replicas=12 does not fill machines of 8."),
        (["--bandwidth=0"], "--bandwidth=0.0 is out of range."),
        (["--backward=1.5"], "--backward=1.5 is out of range."),
        (["--write", "--latency=1"], "the page is written from the defaults"),
        (["--check", "--nosynchronized"], "the page is written from the defaults"),
        (["8"], "'8' is not a flag"),
        (["--measure=digits"], "no recipe 'digits'"),
        (["--measure=digits_lenet5", "--steps=4,2"], "give two numbers, the smaller first."),
    ],
)
def test_wrong_arguments(arguments, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["scaling", *arguments])
    with pytest.raises(SystemExit) as end:
        scaling.main()
    assert end.value.code == 2 and message in capsys.readouterr().err


@pytest.mark.parametrize("current", [True, False])
def test_write_and_check(current, prediction, tmp_path, monkeypatch, capsys):
    page = tmp_path / "scaling.md"
    page.write_text(f"# A\n\n{scaling.BEGIN}\nold\n{scaling.END}\n\nB\n", "utf-8")
    monkeypatch.setattr(scaling, "PAGE", page)
    monkeypatch.setattr(scaling, "prediction", lambda *_: prediction)
    if current:
        monkeypatch.setattr(sys, "argv", ["scaling", "--write"])
        scaling.main()
        assert page.read_text("utf-8") == f"# A\n\n{scaling.BEGIN}\n{prediction}\n{scaling.END}\n\nB\n"
    monkeypatch.setattr(sys, "argv", ["scaling", "--check"])
    with pytest.raises(SystemExit) as end:
        scaling.main()
    assert bool(end.value.code) != current


def test_loopback_bytes_are_counted():
    before = scaling.loopback_bytes()
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as sender:
        receiver, _ = server.accept()
        with receiver, concurrent.futures.ThreadPoolExecutor(1) as pool:
            pool.submit(sender.sendall, bytes(5_000_000))
            received = 0
            while received < 5_000_000:
                received += len(receiver.recv(1 << 20))
    assert scaling.loopback_bytes() - before >= 5_000_000


@pytest.mark.slow
def test_workers_send_what_is_predicted():
    """On the loopback device, which other tests may use at the same time: so it is only held from below."""
    done = run("--measure=digits_lenet5", "--workers=2", "--steps=4,20")
    assert not done.returncode, done.stderr
    predicted, counted, ratio = done.stdout.splitlines()[-1].strip("| ").replace(",", "").split(" | ")[2:]
    assert math.isclose(float(counted) / float(predicted), float(ratio), abs_tol=1e-3) and float(ratio) >= 1
