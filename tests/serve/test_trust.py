"""What a SavedModel may reach: whatever works on files, processes or the network is found where it hides, and named."""

import re
import shutil

import keras
import pytest
import tensorflow as tf
from tensorflow.core.framework import variable_pb2
from tensorflow.core.protobuf import saved_model_pb2

from kerascnn.serve import trust

TEXTS = tf.TensorSpec([None], tf.string, name="texts")


def save(folder, function, **attributes):
    module = tf.Module()

    def serve(texts):
        return {"texts": function(texts)}

    module.serve = tf.function(serve, input_signature=[TEXTS], autograph=False)
    for name, value in attributes.items():
        setattr(module, name, value)
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})
    return folder


def refusal(folder):
    """What is said of a SavedModel: one line, with the way out."""
    with pytest.raises(ValueError) as caught:
        trust.check(folder)
    message = str(caught.value)
    assert message.startswith(f"{folder} ") and "\n" not in message
    assert message.endswith("If you know and trust its maker, say --trust (in Python, trust=True).")
    return message


# What a signature may not do, by its operation.


def read(texts):
    return tf.reshape(tf.io.read_file(texts[0]), [1])


def write(texts):
    tf.io.write_file("/tmp/written", texts[0])  # a control edge alone leads there
    return texts


def printed(texts):
    tf.print(texts, output_stream="file:///tmp/printed")
    return texts


def from_records(texts):
    return tf.data.Dataset.from_tensors(texts).flat_map(tf.data.TFRecordDataset).batch(3).get_single_element()


def cached(texts):
    return tf.data.Dataset.from_tensors(texts).cache("/tmp/cached").get_single_element()


def python(call, **options):
    return lambda texts: tf.ensure_shape(call(lambda texts: texts, [texts], tf.string, **options), [None])


def in_a_loop(function):
    shapes = [tf.TensorShape([]), tf.TensorShape([None])]
    return lambda texts: tf.while_loop(lambda i, _: i < 2, lambda i, t: (i + 1, function(t)), [0, texts], shapes)[1]


def in_a_branch(function):
    return lambda texts: tf.cond(tf.size(texts) > 3, lambda: function(texts), lambda: texts)


def in_a_data_set(function):
    return lambda texts: tf.data.Dataset.from_tensors(texts).map(function).prefetch(1).get_single_element()


def in_a_function(function):
    def called(texts):
        return function(texts)

    return tf.function(called, input_signature=[TEXTS], autograph=False)


REACHED = {
    "ReadFile": (read, "ReadFile", "reads files"),
    "WriteFile": (write, "WriteFile", "writes files"),
    "PyFunc": (python(tf.numpy_function), "PyFunc", "calls Python"),
    "PyFuncStateless": (python(tf.numpy_function, stateful=False), "PyFuncStateless", "calls Python"),
    "EagerPyFunc": (python(tf.py_function), "EagerPyFunc", "calls Python"),
    "records": (from_records, "TFRecordDataset", "reads files"),
    "a cache": (cached, "CacheDatasetV2", "writes files"),
    "a message": (printed, "PrintV2", "writes files"),
    "file names": (tf.io.matching_files, "MatchingFiles", "reads files"),
    "a loop": (in_a_loop(read), "ReadFile", "reads files"),
    "a branch": (in_a_branch(write), "WriteFile", "writes files"),
    "a data set": (in_a_data_set(read), "ReadFile", "reads files"),
    "functions": (in_a_function(in_a_function(write)), "WriteFile", "writes files"),
    "a data set in a function in a loop": (in_a_loop(in_a_function(in_a_data_set(read))), "ReadFile", "reads files"),
}


@pytest.mark.parametrize("kind", REACHED)
def test_what_a_signature_reaches_is_named_with_the_way_to_it(kind, tmp_path):
    function, operation, what = REACHED[kind]
    save(tmp_path, function)
    message = refusal(tmp_path)
    way = r"the signature 'serving_default'( > function \S+)+ reaches the operation"
    assert re.search(rf"{way} {operation} \(node [\w/.]+\), which {what}", message), message
    trust.check(tmp_path, trust=True)


# What is harmless passes.


def computes(texts, table):
    """Random numbers, messages on the terminal, data sets in memory, loops and branches."""
    tf.debugging.assert_positive(tf.size(texts))
    tf.print(texts)
    found = in_a_loop(table.lookup)(in_a_data_set(in_a_branch(lambda texts: texts + "?"))(texts))
    return found + tf.strings.as_string(tf.random.normal(tf.shape(texts)))


def test_what_only_computes_passes(tmp_path):
    table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(["a", "b"], ["1", "2"]), "")
    trust.check(save(tmp_path, lambda texts: computes(texts, table), table=table))


def test_our_own_bundle_passes(bundle):
    trust.check(bundle / "1")


def test_a_model_with_variables_that_keras_exported_passes(tmp_path):
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(8, 3)(inputs))
    x = keras.layers.Dropout(0.5)(keras.layers.GlobalAveragePooling2D()(x))
    keras.Model(inputs, keras.layers.Dense(10)(x)).export(tmp_path, verbose=False)
    trust.check(str(tmp_path))


def save_in_the_way_of_tensorflow_1(folder, main_op):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        texts = tf.compat.v1.placeholder(tf.string, [None], name="texts")
        variable = tf.compat.v1.get_variable("v", [], tf.string, tf.compat.v1.constant_initializer("!"))
        signature = tf.compat.v1.saved_model.predict_signature_def({"texts": texts}, {"texts": texts + variable})
        session.run(tf.compat.v1.global_variables_initializer())
        builder = tf.compat.v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(
            session, ["serve"], {"serving_default": signature}, main_op=main_op(), strip_default_attrs=True
        )
        builder.save()


def test_models_of_tensorflow_1(tmp_path):
    save_in_the_way_of_tensorflow_1(tmp_path / "good", tf.no_op)
    trust.check(tmp_path / "good")
    save_in_the_way_of_tensorflow_1(
        tmp_path / "bad", lambda: tf.raw_ops.WriteFile(filename="/tmp/written", contents="")
    )
    message = refusal(tmp_path / "bad")
    assert "loading it reaches the operation WriteFile (node WriteFile), which writes files" in message


# Ways that a graph made by hand may take: a harmless one, in which nothing leads to `hidden`, is changed.


@pytest.fixture(scope="module")
def harmless(tmp_path_factory):
    """(its folder, its message): `serve` calls `inner`; `hidden` writes files, and nothing calls it."""
    variable = tf.Variable("?")

    @tf.function(input_signature=[TEXTS], autograph=False)
    def inner(texts):
        return texts + "!"

    @tf.function(input_signature=[TEXTS], autograph=False)
    def hidden(texts):
        return write(texts)

    folder = tmp_path_factory.mktemp("harmless")
    save(folder, lambda texts: inner(texts) + variable, inner=inner, hidden=hidden, variable=variable)
    return folder, saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())


class Parts:
    """The places in `harmless` that the changes are made at."""

    def __init__(self, graph):
        self.graph, self.objects = graph, graph.object_graph_def.nodes
        functions = {f.signature.name.removeprefix("__inference_"): f for f in graph.graph_def.library.function}
        self.functions = {name.rpartition("_")[0]: function for name, function in functions.items()}
        self.inner, self.hidden = (self.functions[name].signature.name for name in ("inner", "hidden"))
        self.call = next(n for n in self.functions["serve"].node_def if n.attr["f"].func.name == self.inner)
        self.nodes = {node.name: node for node in graph.graph_def.node}
        self.output = self.node(graph.signature_def["serving_default"].outputs["texts"].name)
        self.save = self.node(graph.saver_def.save_tensor_name)
        self.restore = self.node(graph.saver_def.restore_op_name)
        self.hidden_object = next(c.node_id for c in self.objects[0].children if c.local_name == "hidden")

    def node(self, tensor):
        return self.nodes[tensor.partition(":")[0]]

    def add_hidden_call(self):
        node = self.graph.graph_def.node.add(name="evil", op="StatefulPartitionedCall", input=["serving_default_texts"])
        node.attr["f"].func.name = self.hidden
        return node

    def add_node(self, op, function="inner", **texts):
        node = self.functions[function].node_def.add(name="evil", op=op)
        for name, text in texts.items():
            node.attr[name].s = text
        return node


def another_function(parts):
    parts.call.attr["f"].func.name = parts.hidden


def function_as_operation(parts):
    parts.call.op = parts.hidden
    del parts.call.attr["f"]


def same_interface(parts):
    for name in ("inner", "hidden"):
        parts.functions[name].attr["api_implements"].s = b"same"


def gradient(parts):
    parts.graph.graph_def.library.gradient.add(function_name=parts.inner, gradient_func=parts.hidden)
    parts.call.op = "SymbolicGradient"


def custom_gradient(parts):
    parts.graph.graph_def.library.registered_gradients.add(gradient_func=parts.hidden, registered_op_type="Gradient-1")
    parts.call.attr["_gradient_op_type"].s = b"Gradient-1"


def argument_of_a_function(parts):
    parts.call.attr["f"].func.attr["g"].func.name = parts.hidden


def list_of_functions(parts):
    parts.call.attr["branches"].list.func.add(name=parts.hidden)


def function_as_text(parts):
    parts.call.attr["forward_function_name"].s = parts.hidden.encode()


def two_of_one_name(parts):
    twin = parts.graph.graph_def.library.function.add()
    twin.CopyFrom(parts.functions["hidden"])
    twin.signature.name = parts.inner


def control_edge(parts):
    parts.add_hidden_call()
    parts.output.input.append("^evil")


def input_of_a_signature(parts):
    parts.add_hidden_call()
    parts.graph.signature_def["serving_default"].inputs["more"].name = "evil:0"


def sparse_output(parts):
    parts.add_hidden_call()
    parts.graph.signature_def["serving_default"].outputs["more"].coo_sparse.indices_tensor_name = "evil:0"


def another_signature(parts):
    parts.add_hidden_call()
    parts.graph.signature_def["more"].outputs["x"].name = "evil:0"


def signature_of_the_objects(parts):
    signatures = next(child.node_id for child in parts.objects[0].children if child.local_name == "signatures")
    parts.objects[signatures].children[0].node_id = parts.hidden_object


def init_op(parts):
    parts.add_hidden_call()
    parts.node(parts.graph.signature_def["__saved_model_init_op"].outputs["__saved_model_init_op"].name).input.append(
        "^evil"
    )


def main_op(parts):
    parts.add_hidden_call()
    del parts.graph.signature_def["__saved_model_init_op"]
    parts.graph.collection_def["saved_model_main_op"].node_list.value[:] = ["evil"]


def initializer_of_a_variable(parts):
    parts.add_hidden_call()
    content = variable_pb2.VariableDef(initializer_name="evil").SerializeToString()
    parts.graph.collection_def["local_variables"].bytes_list.value.append(content)


def child(name):
    return lambda parts: parts.objects[0].children.add(local_name=name, node_id=parts.hidden_object)


def restored_object(parts):
    parts.objects[0].saveable_objects["x"].restore_function = parts.hidden_object


def restore_op(parts):
    parts.add_hidden_call()
    parts.graph.saver_def.restore_op_name = "evil"


def saves_on_loading(parts):
    parts.graph.saver_def.restore_op_name = parts.save.name


def restores_from_elsewhere(parts):
    parts.graph.graph_def.node.add(name="evil", op="Const")
    parts.restore.input[0] = "evil"


def restores_from_elsewhere_inside(parts):
    function = parts.functions["_traced_restore"]
    function.node_def.add(name="evil", op="Const")
    next(n for n in function.node_def if n.op == "RestoreV2").input[0] = "evil:output:0"


def restores_for_a_client(parts):
    parts.graph.signature_def["serving_default"].inputs["path"].name = parts.graph.saver_def.filename_tensor_name
    parts.output.input.append(f"^{parts.restore.name}")


def decodes_by_a_file(parts):
    parts.add_node("DecodeProtoV2", descriptor_source=b"/etc/passwd")


def decodes_by_what_a_caller_says(parts):
    parts.add_node("DecodeProtoV2").attr["descriptor_source"].placeholder = "source"


def read_in_passing(parts):
    parts.add_node("ReadFile", "hidden")


def missing_function(parts):
    parts.call.attr["f"].func.name = "ReadFile"


BY_SIGNATURE, LOADING = "the signature 'serving_default' > ", "loading it > "
HIDDEN = r"function __inference_hidden_\d+ reaches the operation WriteFile"
INNER = rf"{BY_SIGNATURE}function \w+ > function __inference_serve_\d+ > function __inference_inner_\d+ "
CHANGES = {
    another_function: rf"{BY_SIGNATURE}function \w+ > function __inference_serve_\d+ > {HIDDEN}",
    function_as_operation: rf"{BY_SIGNATURE}.* > {HIDDEN}",
    same_interface: rf"{BY_SIGNATURE}.* > {HIDDEN}",
    gradient: rf"{BY_SIGNATURE}.* > {HIDDEN}",
    custom_gradient: rf"{BY_SIGNATURE}.* > {HIDDEN}",
    argument_of_a_function: rf"{BY_SIGNATURE}.* > {HIDDEN}",
    list_of_functions: rf"{BY_SIGNATURE}.* > {HIDDEN}",
    function_as_text: rf"{BY_SIGNATURE}.* > {HIDDEN}",
    two_of_one_name: rf"{INNER}reaches the operation WriteFile",
    control_edge: rf"{BY_SIGNATURE}{HIDDEN}",
    input_of_a_signature: rf"{BY_SIGNATURE}{HIDDEN}",
    sparse_output: rf"{BY_SIGNATURE}{HIDDEN}",
    another_signature: rf"the signature 'more' > {HIDDEN}",
    signature_of_the_objects: rf"{BY_SIGNATURE}{HIDDEN}",
    init_op: f"{LOADING}{HIDDEN}",
    main_op: f"{LOADING}{HIDDEN}",
    initializer_of_a_variable: f"{LOADING}{HIDDEN}",
    child("_initialize"): f"{LOADING}{HIDDEN}",
    child("_gather_saveables_for_checkpoint"): f"{LOADING}{HIDDEN}",
    restored_object: f"{LOADING}{HIDDEN}",
    restore_op: f"loading its variables > {HIDDEN}",
    saves_on_loading: r"loading its variables > function __inference__traced_save_\d+ reaches the operation \w*V2",
    restores_from_elsewhere: r"variables > function \w+ reaches the operation RestoreV2 .*, which reads files",
    restores_from_elsewhere_inside: r"variables > function \w+ reaches the operation RestoreV2 .*, which reads files",
    restores_for_a_client: rf"{BY_SIGNATURE}function \w+ reaches the operation RestoreV2 .*, which reads files",
    decodes_by_a_file: f"{INNER}reaches the operation DecodeProtoV2 .*, which reads files",
    decodes_by_what_a_caller_says: f"{INNER}reaches the operation DecodeProtoV2 .*, which reads files",
    read_in_passing: r"function __inference_hidden_\d+ has the operation ReadFile .*, which reads files and may run on",
    missing_function: r"function ReadFile is not in the file",
    lambda parts: parts.add_node("NewOperation"): f"{INNER}reaches the operation NewOperation .* is not known here",
    lambda parts: parts.add_node("Stage"): f"{INNER}reaches the operation Stage .* is not known to be harmless",
    lambda parts: parts.add_node("_MklSwish"): f"{INNER}reaches the operation _MklSwish .* TensorFlow's own use",
    lambda parts: parts.add_node("Abort"): f"{INNER}reaches the operation Abort .*, which ends the process",
    lambda parts: parts.graph.asset_file_def.add(filename="../../secret"): r"its asset '../../secret' is outside of it",
    lambda parts: parts.graph.asset_file_def.add(filename="/etc/passwd"): r"its asset '/etc/passwd' is outside of it",
    lambda parts: parts.graph.asset_file_def.add(filename="gs://x/y"): r"its asset 'gs://x/y' is outside of it",
}


def changed(harmless, folder, change):
    saved_model = saved_model_pb2.SavedModel()
    saved_model.CopyFrom(harmless[1])
    change(Parts(saved_model.meta_graphs[0]))
    (folder / "saved_model.pb").write_bytes(saved_model.SerializeToString())
    return folder


def test_what_nothing_reaches_is_no_harm(harmless):
    trust.check(harmless[0])


@pytest.mark.parametrize(("change", "message"), CHANGES.items(), ids=[change.__name__ for change in CHANGES])
def test_no_way_leads_past(change, message, harmless, tmp_path):
    assert re.search(message, refusal(changed(harmless, tmp_path, change)))
    trust.check(tmp_path, trust=True)


def test_a_second_graph_is_looked_at(harmless, tmp_path):
    changed(harmless, tmp_path, lambda parts: None)
    saved_model = saved_model_pb2.SavedModel.FromString((tmp_path / "saved_model.pb").read_bytes())
    saved_model.meta_graphs.add().CopyFrom(saved_model.meta_graphs[0])
    another_function(Parts(saved_model.meta_graphs[1]))
    (tmp_path / "saved_model.pb").write_bytes(saved_model.SerializeToString())
    assert "WriteFile" in refusal(tmp_path)


def test_harmless_forms_of_what_is_refused_otherwise(harmless, tmp_path):
    def change(parts):
        parts.add_node("PrintV2", output_stream=b"stderr")
        parts.add_node("PrintV2", output_stream=b"log(info)")
        parts.add_node("PrintV2")
        parts.add_node("EncodeProto", descriptor_source=b"bytes://\x0a")

    trust.check(changed(harmless, tmp_path, change))


# Every operation of this TensorFlow.


FILES = re.compile(
    r"file|path(?!s)|dir(_|$)|prefix|address|urls?$|memory_region|token$|graph_def$|mlir|target_name|host"
)
NO_FILES = {  # whose arguments' names only sound like it
    "TensorSliceDataset",
    "TPUReplicateMetadata",
}


def suspects():
    """The operations that have an argument which sounds like a file or a machine."""
    graph = tf.Graph()
    for name in sorted(dir(tf.raw_ops)):
        if not name.startswith("_"):
            definition = graph.op_def_for_type(name)
            if any(FILES.search(part.name.lower()) for part in (*definition.input_arg, *definition.attr)):
                yield name


def test_no_operation_that_names_files_or_machines_is_forgotten(harmless, tmp_path):
    found = [name for name in suspects() if name not in NO_FILES]
    assert len(found) > 40
    passed = []
    for name in found:
        try:
            trust.check(changed(harmless, tmp_path, lambda parts, name=name: parts.add_node(name)))
            passed.append(name)
        except ValueError:
            pass
    assert passed == []


# What it costs, what it does itself, and files.


def test_nothing_runs_while_it_is_looked_at_and_loading_would_run_it(tmp_path):
    written = tmp_path / "written"

    class Resource(tf.saved_model.experimental.TrackableResource):
        def _create_resource(self):
            return tf.raw_ops.MutableHashTableV2(key_dtype=tf.string, value_dtype=tf.string)

        def _initialize(self):
            tf.io.write_file(str(written), "by the graph")

    module = tf.Module()
    module.resource = Resource()
    module.serve = tf.function(lambda texts: {"texts": texts}, input_signature=[TEXTS], autograph=False)
    tf.saved_model.save(module, str(tmp_path / "1"), signatures={"serving_default": module.serve})
    assert re.search(r"loading it > function \w+ reaches the operation WriteFile", refusal(tmp_path / "1"))
    assert not written.exists()
    tf.saved_model.load(str(tmp_path / "1"))
    assert written.read_text() == "by the graph"


@pytest.mark.parametrize("place", ["assets/labels.txt", "variables/variables.index", "variables", "saved_model.pb"])
def test_links_that_lead_out_of_the_folder(place, harmless, tmp_path):
    folder = shutil.copytree(harmless[0], tmp_path / "1")
    shutil.rmtree(folder / place) if place == "variables" else (folder / place).unlink(missing_ok=True)
    (folder / place).symlink_to(harmless[0] / place)
    assert f"{folder / place} leads to {harmless[0] / place}, outside of it" in refusal(folder)


def test_links_within_the_folder_and_to_it(harmless, tmp_path):
    folder = shutil.copytree(harmless[0], tmp_path / "1")
    (folder / "assets" / "a.txt").write_text("a")
    (folder / "assets" / "b.txt").symlink_to("a.txt")
    (folder / "assets" / "loop").symlink_to("loop")
    (tmp_path / "2").symlink_to(folder)
    trust.check(tmp_path / "2")


@pytest.mark.parametrize("name", ["saved_model.pbtxt", "saved_model.cpb"])
def test_a_graph_beside_the_one_that_is_looked_at(name, harmless, tmp_path):
    folder = shutil.copytree(harmless[0], tmp_path / "1")
    (folder / name).touch()
    assert f"it has a second graph in {name}" in refusal(folder)


@pytest.mark.parametrize("content", [b"\xff" * 100, b"\x12\x05abc"])
def test_damage_is_named(content, tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(content)
    with pytest.raises(ValueError, match=rf"^{tmp_path} cannot be loaded, export it anew: .*\Z"):
        trust.check(tmp_path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"saved_model\.pb"):
        trust.check(tmp_path / "none")
