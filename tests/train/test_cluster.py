import json
import socket
import threading

import pytest

from kerascnn.train import cluster
from kerascnn.train.cluster import Cluster, check_flags, find, gather
from tools.launch import free_ports


def test_flags():
    assert find("a:1, b-2.c:65535", 1) == Cluster(("a:1", "b-2.c:65535"), 1, "--workers")


@pytest.mark.parametrize(
    ("workers", "index", "message"),
    [
        ("a:1,b:2", 2, "no worker 2 among 2"),
        ("a:1,b:2", -1, "no worker -1 among 2"),
        ("a:1,b", 0, "'b' is not HOST:PORT"),
        ("a:1,", 0, "'' is not HOST:PORT"),
        ("a:0", 0, "'a:0' is not HOST:PORT"),
        ("a:65536", 0, "is not HOST:PORT"),
        ("grpc://a:1", 0, "is not HOST:PORT"),
        ("a:1,b:2,a:1", 0, "has a:1 twice"),
        ("a:1", None, "go together"),
        ("", 0, "go together"),
        ("", None, "--workers=HOST:PORT,HOST:PORT --worker_index=I, or the environment variable TF_CONFIG, or start"),
    ],
)
def test_wrong_flags(workers, index, message):
    with pytest.raises(ValueError, match=message):
        find(workers, index, environment={})


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("mirrored", "a:1", 0, ""), "for --strategy=multi_worker"),
        (("one_device", "", 0, ""), "for --strategy=multi_worker"),
        (("multi_worker", "", None, "x"), "--tpu is for --strategy=tpu"),
        (("multi_worker", "a:1", None, ""), "go together"),
    ],
)
def test_flags_that_do_not_fit(flags, message):
    strategy, workers, worker_index, tpu = flags
    with pytest.raises(ValueError, match=message):
        check_flags(strategy, workers=workers, worker_index=worker_index, tpu=tpu)


def tf_config(jobs, kind, index):
    return {"TF_CONFIG": json.dumps({"cluster": jobs, "task": {"type": kind, "index": index}})}


def test_tf_config():
    jobs = {"worker": ["b:1", "c:1"], "chief": ["a:1"]}
    expected = ("a:1", "b:1", "c:1")
    assert find(environment=tf_config(jobs, "chief", 0)) == Cluster(expected, 0, "TF_CONFIG")
    assert find(environment=tf_config(jobs, "worker", "1")) == Cluster(expected, 2, "TF_CONFIG")
    assert find("x:1,y:1", 1, environment=tf_config(jobs, "chief", 0)).addresses == ("x:1", "y:1")  # flags come first


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"TF_CONFIG": "{"}, "TF_CONFIG is not of the form"),
        ({"TF_CONFIG": "[]"}, "TF_CONFIG is not of the form"),
        ({"TF_CONFIG": '{"task": {"type": "worker", "index": 0}}'}, "TF_CONFIG is not of the form.*cluster"),
        (tf_config({"worker": {"0": 7}}, "worker", "x"), "TF_CONFIG is not of the form"),
        (tf_config({"worker": [1]}, "worker", 0), "TF_CONFIG is not of the form"),
        (tf_config({"worker": ["a:1"], "ps": ["b:1"]}, "worker", 0), "parameter servers"),
        (tf_config({"worker": ["a:1"]}, "evaluator", 0), "names an evaluator"),
        (tf_config({"worker": ["a:1"]}, "master", 0), "names 'master': there are chief and worker"),
        (tf_config({"worker": ["a:1"]}, "worker", 1), "no worker 1, but 1 of this type"),
        (tf_config({"worker": ["a:1"]}, "chief", 0), "no chief 0, but 0"),
        (tf_config({"worker": ["a:1", "a:1"]}, "worker", 1), "TF_CONFIG has a:1 twice"),
    ],
)
def test_wrong_tf_config(environment, message):
    with pytest.raises(ValueError, match=message):
        find(environment=environment)


SLURM = {
    "SLURM_JOB_ID": "1201",
    "SLURM_PROCID": "3",
    "SLURM_NODEID": "1",
    "SLURM_STEP_NODELIST": "n[2,10-11],m1",
    "SLURM_STEP_TASKS_PER_NODE": "2(x3),1",
}


def test_slurm():
    found = find(environment=SLURM)
    assert found.addresses == tuple(
        f"{host}:{20016 + i}" for host in ("n2", "n10", "n11", "m1") for i in range(1 + (host != "m1"))
    )
    assert found.index == 3
    racks = SLURM | {"SLURM_STEP_NODELIST": "r[1-2]n[09-10]", "SLURM_STEP_TASKS_PER_NODE": "1(x4)", "SLURM_NODEID": "3"}
    assert [address.partition(":")[0] for address in find(environment=racks).addresses] == [
        "r1n09",
        "r1n10",
        "r2n09",
        "r2n10",
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"SLURM_STEP_NODELIST": None}, "SLURM_STEP_NODELIST is not set: start the workers with srun"),
        ({"SLURM_STEP_NODELIST": "n[2"}, "cannot be read"),
        ({"SLURM_STEP_TASKS_PER_NODE": "two"}, "cannot be read"),
        ({"SLURM_STEP_TASKS_PER_NODE": "2"}, "names 4 machines, and tasks for 1"),
        ({"SLURM_NODEID": "0"}, "--distribution=block"),
    ],
)
def test_wrong_slurm(changes, message):
    with pytest.raises(ValueError, match=message):
        find(environment={key: value for key, value in (SLURM | changes).items() if value})


def on_loopback(count):
    return [f"127.0.0.1:{port}" for port in free_ports(count)]


def test_workers_wait_for_each_other(monkeypatch, capfd):
    monkeypatch.setattr(cluster, "PATIENCE_SECONDS", 0.1)
    addresses, done = on_loopback(3), []

    def come(index):
        gather(Cluster(tuple(addresses), index, "--workers"), wait_seconds=30)
        done.append(index)
        stay = socket.create_server(("", int(addresses[index].rpartition(":")[2])))  # as TensorFlow's server does
        servers.append(stay)

    servers: list[socket.socket] = []
    threads = [threading.Thread(target=come, args=(index,)) for index in range(3)]
    for thread in threads[:2]:
        thread.start()
    threads[0].join(1)
    assert done == []
    threads[2].start()
    for thread in threads:
        thread.join()
    assert sorted(done) == [0, 1, 2]
    for server in servers:
        server.close()
    assert f"Worker 0 waits for worker 2 ({addresses[2]}: nobody listens)." in capfd.readouterr().err


def test_those_who_do_not_come_are_named():
    first, second, third = on_loopback(3)
    with (
        socket.create_server(("127.0.0.1", int(second.rpartition(":")[2]))),
        pytest.raises(TimeoutError, match=r"1 of 3 workers did not come within 0\.3 s: worker 2 \(" + third),
    ):
        gather(Cluster((first, second, third), 0, "--workers"), wait_seconds=0.3)
    with pytest.raises(TimeoutError, match=r"worker 1 \(no-such-host\.invalid:2222: "):
        gather(Cluster((first, "no-such-host.invalid:2222"), 0, "--workers"), wait_seconds=0)


def test_a_port_in_use_is_named():
    with socket.create_server(("", 0)) as server:
        address = f"localhost:{server.getsockname()[1]}"
        with pytest.raises(ValueError, match=f"worker 0 cannot listen at {address} .Address already in use"):
            gather(Cluster((address,), 0, "--workers"))
    gather(Cluster((address,), 0, "--workers"))  # alone, there is nobody to wait for
