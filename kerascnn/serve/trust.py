"""Whether a SavedModel may be loaded: what its graph can do besides computing.

A graph is a program: it may read and write files, call Python and talk to other machines, with the rights of the
process that loads it (https://github.com/tensorflow/tensorflow/blob/master/SECURITY.md). Here the file is read, and
nothing in it is run. What may be reached are

- operations that keep no state, save those of `REFUSED`;
- operations with state that `STATEFUL` lists: what a later TensorFlow brings is refused until someone has looked at it.

They are looked for where they would run: in what a serving signature reaches (by data, by control edges, by functions
in whatever attribute), and in what runs while TensorFlow loads the model: initializers, the functions of its resources,
and the reading of its variables, to which alone `RestoreV2` is allowed. What writes a checkpoint stands in every
SavedModel, and nothing runs it. Stateless operations of `REFUSED` are refused wherever they stand: TensorFlow computes
constants to know shapes, so that `tf.saved_model.load` alone lets `ReadFile` read, in a function that nothing calls.

This is no sandbox. A graph may never end, take all memory, or use an error in TensorFlow's own code: what is not
trusted at all belongs into a container without rights.
"""

import contextlib
import functools
import os
import re
from collections import defaultdict, deque
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.framework import variable_pb2
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

# {why: which operations}. Those with state would be refused without their line, which gives the reason.
REFUSED = {
    "reads files": (
        r"ReadFile|MatchingFiles|ImmutableConst|RecordInput|GenerateVocabRemapping|LoadAndRemapMatrix|Restore\w*"
        r"|Reader\w+|(WholeFile|TextLine|TFRecord|FixedLengthRecord|LMDB|Identity)Reader(V2)?|DTensorRestoreV2"
        r"|(Experimental)?(CSV|FixedLengthRecord|LMDB|Load|MatchingFiles|Sql|TextLine|TFRecord)Dataset(V2)?"
        r"|Snapshot(Dataset|ChunkDataset|DatasetReader|NestedDatasetReader)|ListSnapshotChunksDataset"
        r"|InitializeTableFromTextFile(V2)?|FixedUnigramCandidateSampler|DecodeProtoV2|EncodeProto"
    ),
    "writes files": (
        r"WriteFile|Save(V2|Slices)?|MergeV2Checkpoints|DistributedSave|SaveDataset(V2)?|CacheDataset(V2)?|PrintV2"
        r"|SnapshotDatasetV2|(Experimental)?DatasetToTFRecord|DumpTensor|CalibrationStatisticsSaver|Copy(Host)?"
        r"|Debug(Identity|NanCount|NumericSummary)(V[23])?|CreateSummary\w+Writer|\w+SummaryWriter|Write\w*Summary"
        r"|ImportEvent"
    ),
    "calls Python": r"(Eager)?PyFunc(Stateless)?",
    "talks to other processes": (
        r"Rpc\w*|DataServiceDataset(V\d)?|RegisterDataset(V2)?|_?(Host)?(Send|Recv)|Collective\w+|_?Nccl\w+|RemoteCall"
        r"|RemoteFusedGraphExecute|FileSystemSetConfiguration"
    ),
    "runs what is not in the graph": (
        r"XlaCustomCall(V2)?|XlaCallModule|XlaHostCompute|MlirPassthroughOp|TRTEngineOp|DatasetFromGraph"
        r"|DeserializeIterator|IteratorFromStringHandle(V2)?"
    ),
    "ends the process": r"Abort",
    "is for TensorFlow's own use": r"_(?!Fused)\w+",
}
# {operation: (attribute, its harmless values)}, of what is refused otherwise.
HARMLESS = {
    "PrintV2": ("output_stream", r"|stdout|stderr|log\(\w+\)"),
    "DecodeProtoV2": ("descriptor_source", r"|local://|bytes://(?s:.*)"),
    "EncodeProto": ("descriptor_source", r"|local://|bytes://(?s:.*)"),
}
STATEFUL = {
    "functions": r"StatefulPartitionedCall|If|While|Case",
    "checks and messages": r"Assert|CheckNumerics(V2)?|Print|Timestamp",
    "variables": (
        r"VarHandleOp|Variable(V2)?|TemporaryVariable|VarIsInitializedOp|VariableShape|ReadVariableOp|Assign(Add|Sub)?"
        r"VariableOp|ResourceGather(Nd)?|Resource(Scatter|StridedSliceAssign|Apply|SparseApply)\w*|DestroyResourceOp"
        r"|DisableCopyOnRead|Empty|GuaranteeConst"
    ),
    "tables": (
        r"(Anonymous)?(Mutable(Dense)?)?HashTable(OfTensors)?(V2)?|LookupTable(Find|Insert|Remove|Import|Export|Size)V2"
        r"|InitializeTable(V2|FromDataset)"
    ),
    "lists": r"TensorArray\w*|Stack(V2|PushV2|PopV2|CloseV2)?",
    "random numbers": (
        r"Random(Uniform|UniformInt|StandardNormal|Gamma|Poisson|PoissonV2|Shuffle|Crop)|(Parameterized)?TruncatedNormal"
        r"|Multinomial|Stateful(StandardNormal|StandardNormalV2|TruncatedNormal|Uniform|UniformInt|UniformFullInt"
        r"|RandomBinomial)|NonDeterministicInts|RngSkip|RngReadAndSkip|StatelessRandomGetAlg"
        r"|SampleDistortedBoundingBox(V2)?|(Anonymous|Delete|Dummy)(Random)?SeedGenerator"
    ),
    "datasets in memory": (
        r"(Tensor|TensorSlice|SparseTensorSlice|Range|List|Reduce|Generator)Dataset|DatasetToSingleElement"
        r"|Shuffle(AndRepeat)?Dataset(V[23])|RandomDataset(V2)?|(Anonymous|Dummy|Delete)MemoryCache"
        r"|OneShotIterator|(Anonymous)?Iterator(V[23])?|MakeIterator|DeleteIterator|IteratorGetNext(Sync|AsOptional)?"
    ),
    "recurrent layers": r"CudnnRNN(V[23])?",
}
ADVICE = "If you know and trust its maker, say --trust (in Python, trust=True)."


def check(folder: str | os.PathLike, *, trust: bool = False) -> None:
    """Reads a SavedModel, without running any of it, and refuses one that can do more than compute.

    Args:
      folder: a version of a bundle, or any SavedModel.
      trust: loads it anyhow: nothing is looked at.

    Raises:
      ValueError: a serving signature or the loading reaches an operation that works on files, processes or the network,
        or one that is not known; the SavedModel refers to files outside of its folder; or it is damaged.
      OSError: it cannot be read.
    """
    if trust:
        return
    folder = Path(folder)
    _check_links(folder)
    content = (folder / "saved_model.pb").read_bytes()
    try:
        for meta_graph in saved_model_pb2.SavedModel.FromString(content).meta_graphs:
            _check_assets(folder, meta_graph)
            for finding in _findings(meta_graph):
                printable = finding.encode("unicode_escape").decode()  # names are whatever their maker wrote
                raise ValueError(f"{folder} is not loaded: {printable}. {ADVICE}")
    except DecodeError as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{folder} cannot be loaded, export it anew: saved_model.pb is damaged ({reason})") from error


def _check_links(folder):
    for name in ("saved_model.pbtxt", "saved_model.cpb"):
        if (folder / name).exists():
            raise ValueError(f"{folder} is not loaded: it has a second graph in {name}. {ADVICE}")
    home = os.path.realpath(folder)
    for below, folders, files in os.walk(folder):
        for path in (Path(below, name) for name in (*folders, *files)):
            target = os.path.realpath(path)
            if path.is_symlink() and not Path(target).is_relative_to(home):
                raise ValueError(f"{folder} is not loaded: {path} leads to {target}, outside of it. {ADVICE}")


def _check_assets(folder, meta_graph):
    assets = list(meta_graph.asset_file_def)
    for collection in meta_graph.collection_def.values():  # of TensorFlow 1
        assets += [meta_graph_pb2.AssetFileDef.FromString(value.value) for value in collection.any_list.value]
    for asset in assets:
        path = PurePosixPath(asset.filename)
        if path.is_absolute() or ".." in path.parts or "://" in asset.filename:
            raise ValueError(f"{folder} is not loaded: its asset {asset.filename!r} is outside of it. {ADVICE}")


def _findings(meta_graph) -> Iterator[str]:
    """What is wrong with a graph, in words; first what a signature reaches."""
    graph = meta_graph.graph_def
    library = defaultdict(list)  # where a name stands twice, both are looked at
    for function in graph.library.function:
        library[function.signature.name].append(function)
    edges = _indirect_edges(graph.library)
    # A function; the way to it, as (its name, the way to where it is named); whether it reads the variables.
    waiting: deque[tuple[str, tuple, bool]] = deque()
    seen = set()

    def visit(nodes, way, path):
        for node in nodes:
            takes_path = bool(path) and [name.removesuffix(":0") for name in node.input[:1]] == [path]
            reason = _reason(node.op, node.attr, library)
            if reason and not (takes_path and node.op in ("Restore", "RestoreV2")):
                yield f"{_words(way)} reaches the operation {node.op} (node {node.name}), which {reason}"
            hands_on = takes_path and node.op in ("PartitionedCall", "StatefulPartitionedCall")
            called = _mentioned(node.attr, edges, library) | ({node.op} & library.keys())
            waiting.extend((name, way, hands_on) for name in sorted(called))

    for root, tensors, functions, path in _roots(meta_graph):
        yield from visit(_ancestors(graph.node, tensors), (root, None), path)
        waiting.extend((name, (root, None), False) for name in functions)
        while waiting:
            name, way, reads_variables = waiting.popleft()
            if (name, reads_variables) in seen:
                continue
            seen.add((name, reads_variables))
            way = (f"function {name}", way)
            if name not in library and name not in edges:
                yield f"{_words(way)} is not in the file"
            waiting.extend((other, way, False) for other in sorted(edges.get(name, ())))
            for function in library.get(name, ()):
                first = [argument.name for argument in function.signature.input_arg[:1]]
                yield from visit(function.node_def, way, first[0] if first and reads_variables else "")
                waiting.extend((other, way, False) for other in sorted(_mentioned(function.attr, edges, library)))

    everywhere = [(f"function {function.signature.name}", function.node_def) for function in graph.library.function]
    for place, nodes in [("its graph", graph.node), *everywhere]:
        for node in nodes:
            reason = _reason(node.op, node.attr, library)
            if reason and _op_def(node.op) and not _op_def(node.op).is_stateful:
                yield f"{place} has the operation {node.op} (node {node.name}), which {reason} and may run on loading"


def _words(way):
    words = []
    while way:
        word, way = way
        words.append(word)
    return " > ".join([*words[:-5:-1], "...", *words[3::-1]] if len(words) > 8 else reversed(words))


def _roots(meta_graph) -> Iterator[tuple[str, list[str], list[str], str]]:
    """All that runs: (what it is, its tensors, its functions, the tensor with the variables' path if it reads them)."""
    objects = meta_graph.object_graph_def.nodes
    signatures: dict[str, list[str]] = defaultdict(list)
    loading: list[str] = []

    def functions(number):
        if not 0 <= number < len(objects):
            return []
        found = objects[number]
        return [
            name
            for name in (found.bare_concrete_function.concrete_function_name, *found.function.concrete_functions)
            if name
        ]

    for found in objects:
        for child in (*found.children, *found.dependencies):
            # TensorFlow calls some, such as `_initialize`; and what has the name of a method of its own replaces that.
            if child.local_name.startswith("_"):
                loading += functions(child.node_id)
            if child.local_name == "signatures" and 0 <= child.node_id < len(objects):
                for signature in objects[child.node_id].children:
                    signatures[signature.local_name] += functions(signature.node_id)
        for saveable in found.saveable_objects.values():
            loading += functions(saveable.restore_function)

    tensors = {name: _tensor_names(signature) for name, signature in meta_graph.signature_def.items()}
    initializers = tensors.pop("__saved_model_init_op", [])
    for name in sorted({*signatures, *tensors}):
        yield f"the signature {name!r}", tensors.get(name, []), signatures[name], ""

    for collection in meta_graph.collection_def.values():
        initializers += collection.node_list.value
        for value in collection.bytes_list.value:
            with contextlib.suppress(DecodeError):  # other things are kept there, too
                initializers.append(variable_pb2.VariableDef.FromString(value).initializer_name)
    yield "loading it", initializers, loading, ""
    saver = meta_graph.saver_def
    yield "loading its variables", [saver.restore_op_name], [], saver.filename_tensor_name.removesuffix(":0")


def _tensor_names(signature):
    names = []
    for tensor in (*signature.inputs.values(), *signature.outputs.values()):
        sparse = tensor.coo_sparse
        names += [tensor.name, sparse.values_tensor_name, sparse.indices_tensor_name, sparse.dense_shape_tensor_name]
        names += [component.name for component in tensor.composite_tensor.components]
    return names


def _ancestors(nodes, tensors):
    """The nodes that have to run for some tensors of the graph, by data and by control."""
    by_name = defaultdict(list)
    for node in nodes:
        by_name[node.name].append(node)
    waiting, seen = deque(tensors), set()
    while waiting:
        name = waiting.popleft().removeprefix("^").partition(":")[0]
        if name not in seen:
            seen.add(name)
            for node in by_name.get(name, ()):
                yield node
                waiting.extend(node.input)


def _indirect_edges(library) -> dict[str, set[str]]:
    """{function or "gradient KIND": the functions that TensorFlow may call in its place or for its gradient}."""
    edges = defaultdict(set)
    for gradient in library.gradient:
        edges[gradient.function_name].add(gradient.gradient_func)
    for gradient in library.registered_gradients:
        edges[f"gradient {gradient.registered_op_type}"].add(gradient.gradient_func)
    first: dict[bytes, str] = {}  # of those that implement the same, the optimizer takes the one that suits the device
    for function in library.function:
        interface = function.attr["api_implements"].s if "api_implements" in function.attr else b""
        if interface:
            name = function.signature.name
            edges[name].add(first.setdefault(interface, name))
            edges[first[interface]].add(name)
    return dict(edges)


def _mentioned(attributes, edges, library) -> set[str]:
    """The functions that attributes name, at any depth."""
    found, waiting = set(), list(attributes.values())
    while waiting:
        value = waiting.pop()
        for function in (value.func, *value.list.func):
            if function.name:
                found.add(function.name)
            waiting.extend(function.attr.values())
        for text in (value.s, *value.list.s):
            name = text.decode(errors="replace")
            found |= {name} & library.keys() | {f"gradient {name}"} & edges.keys()
    return found


def _reason(op, attributes, library):
    """Why an operation is refused, or None."""
    reason = _reason_by_name(op)
    if op in library and _op_def(op) is None:
        return None  # a function that is called by its name
    if reason and op in HARMLESS:
        name, values = HARMLESS[op]
        value = attributes.get(name)
        if value is None or (
            value.WhichOneof("value") == "s" and re.fullmatch(values, value.s.decode(errors="replace"))
        ):
            return None
    return reason


@functools.cache
def _reason_by_name(op):
    for reason, pattern in REFUSED.items():
        if re.fullmatch(pattern, op):
            return reason
    definition = _op_def(op)
    if definition is None:
        return "is not known here"
    if definition.is_stateful and not any(re.fullmatch(pattern, op) for pattern in STATEFUL.values()):
        return "is not known to be harmless"
    return None


@functools.cache
def _op_def(op):
    try:
        return tf.Graph().op_def_for_type(op)
    except RuntimeError:  # TensorFlow has no such operation
        return None
