"""What a unit looks at is a small part of what it could see.

The gradient of the unit in the middle of a feature map with respect to the image, root mean square over images and
over random signs of the channels. Left three 3x3 convolutions and one 7x7 of 64 channels, with random weights; then
the stages of `resnet20_cifar`, untrained and trained for 6 epochs on the digits at 32x32, shown sheets of 3x3 digits so
that the whole field fits. Solid squares are the theoretical fields by `kerascnn.complexity`, dashed ones the smallest
that hold 95 % of the squared gradient.

Lecture: three 3x3 convolutions see 7x7 pixels as one 7x7 does, for 27 C^2 weights in place of 49 C^2. The effective
field is a Gaussian in the middle of the theoretical one, and training widens it
([1701.04128](https://arxiv.org/abs/1701.04128)).

Seen: the field of a unit at the end of stage 3 is 81 pixels wide, and 95 % of its squared gradient lies in 31 pixels
untrained, 15 % of the area. Three 3x3 have 110,592 weights for 200,704 of one 7x7, and look at the middle more: half of
it lies in 3x3 pixels, of the 7x7's in 5x5. Other than in the paper, training made the fields smaller, in each stage: 23
pixels in stage 3. One net, one seed, and digits that six epochs learn to 98.9 % of the test images; such a task may ask
for little more than strokes. The trained net has shortcuts too, by which the paths that look at little can count more.
"""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from kerascnn.train import Recipe

from .lab import Lab, main

RECIPE = Recipe(
    model="resnet20_cifar", data="digits", image_size=32, epochs=6, batch_size=32, learning_rate=0.05, warmup_epochs=1
)
STAGES = ("stage1", "stage2", "stage3")
SHEET = 96  # three digits of 32 pixels a side
DRAWS = 8  # of the channels' signs
CHANNELS = 64


def stacks() -> dict:
    """Three 3x3 convolutions and one 7x7, as Keras models with random weights."""
    import keras

    from kerascnn import initializers

    made = {}
    for name, kernels in {"three 3x3": (3, 3, 3), "one 7x7": (7,)}.items():
        image = x = keras.Input((15, 15, CHANNELS))
        for kernel in kernels:
            x = keras.layers.Conv2D(
                CHANNELS,
                kernel,
                padding="same",
                activation="relu",
                use_bias=False,
                kernel_initializer=initializers.get("he_normal"),
            )(x)
        made[name] = keras.Model(image, x)
    return made


def sheets(images: np.ndarray) -> np.ndarray:
    """Nine digits each, three by three, of images in their order."""
    whole = images[: len(images) // 9 * 9].reshape(-1, 3, 3, *images.shape[1:])
    return whole.transpose(0, 1, 3, 2, 4, 5).reshape(-1, 3 * images.shape[1], 3 * images.shape[2], images.shape[3])


def gradient(model, images: np.ndarray) -> np.ndarray:
    """How strongly the middle of the model's output depends on each pixel: root mean square, the largest 1."""
    import tensorflow as tf

    images, draws, total = tf.constant(images), np.random.default_rng(0), np.zeros(())
    for _ in range(DRAWS):
        signs = tf.constant(draws.choice([-1.0, 1.0], size=model.output_shape[-1]), tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(images)
            given = model(images, training=False)
            middle = given[:, given.shape[1] // 2, given.shape[2] // 2] @ signs[:, tf.newaxis]
        total = total + np.mean(tape.gradient(middle, images).numpy() ** 2, axis=(0, 3))
    return np.sqrt(total / total.max())


def effective_side(found: np.ndarray, middle: int, share: float) -> int:
    """The side of the smallest square about the middle that holds this share of the squared gradient."""
    squares = found**2
    for reach in range(len(found)):
        low, high = max(middle - reach, 0), middle + reach + 1
        if squares[low:high, low:high].sum() >= share * squares.sum():
            break
    return 2 * reach + 1


def field(axes, found: np.ndarray, middle: int, theoretical: int, title: str) -> dict[str, object]:
    """Draws a gradient with its two squares, and gives its row of the table."""
    half, effective = effective_side(found, middle, 0.5), effective_side(found, middle, 0.95)
    axes.imshow(found, cmap="magma", vmin=0, vmax=1)
    for side, style in ((theoretical, "-"), (effective, "--")):
        corner = (middle - side / 2, middle - side / 2)
        axes.add_patch(Rectangle(corner, side, side, fill=False, edgecolor="white", linestyle=style, linewidth=1.5))
    axes.set_title(title, fontsize=11)
    axes.set_xlabel(f"sees {theoretical} pixels, 95 % in {effective}", fontsize=9)
    axes.set_xticks([])
    axes.set_yticks([])
    return {
        "unit": title,
        "theoretical side": theoretical,
        "with half of the squared gradient": half,
        "with 95 % of it": effective,
        "share of the area (%)": f"{100 * (effective / theoretical) ** 2:.0f}",
    }


def experiment(lab: Lab) -> None:
    """Computes and draws the fields of the stacks, and of the net untrained and trained."""
    import keras

    from kerascnn import complexity, create_model
    from kerascnn.data import pipeline

    run = lab.train({"resnet20": RECIPE})["resnet20"][0]
    keras.utils.set_random_seed(0)
    figure = Figure((11, 6), layout="constrained")
    panels = figure.subplots(2, 4)
    rows = []
    noise = np.random.default_rng(0).normal(size=(16, 15, 15, CHANNELS)).astype("float32")
    for (name, model), axes in zip(stacks().items(), panels[:, 0], strict=True):
        cost = complexity(model)
        found = gradient(model, noise)
        rows.append(field(axes, found, 7, int(cost.layers[-1].receptive_field), name) | {"weights": f"{cost.params:,}"})
    count = 9 if lab.smoke else 144
    batches = pipeline(
        "digits", f"train[:{count}]", batch_size=count, image_size=32, crop="resize", train=False, data_dir=lab.data_dir
    )
    images = sheets(next(iter(batches))[0].numpy())
    # Batch norm has statistics to run on, in the untrained net too: with this momentum, those of these images.
    net = create_model("resnet20_cifar", input_shape=(SHEET, SHEET, 1), bn_momentum=0.0)
    net(images, training=True)
    fields = {row.name: row for row in complexity(net).layers if row.name in STAGES}
    for state, line in zip(("untrained", "trained"), panels, strict=True):
        if state == "trained":
            net.set_weights(run.model().get_weights())
        for (name, layer), axes in zip(fields.items(), line[1:], strict=True):
            found = gradient(keras.Model(net.inputs, net.get_layer(name).output), images)
            # A unit's field is centred at its place times the stride: all paddings are symmetric.
            middle = net.get_layer(name).output.shape[1] // 2 * int(layer.stride)
            rows.append(field(axes, found, middle, int(layer.receptive_field), f"{name}, {state}"))
    figure.colorbar(panels[0, 0].images[0], ax=panels, shrink=0.6, label="gradient, of its largest")
    figure.suptitle(
        "Gradient of the middle unit: theoretical field (solid), and where 95 % of the squared gradient is (dashed)"
    )
    for row in rows:
        row.setdefault("weights", "")
    lab.save(figure, rows)


if __name__ == "__main__":
    main(experiment)
