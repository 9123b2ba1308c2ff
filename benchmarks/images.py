"""What `tfpvae train` makes of images with no option but the data: how much it explains, and how good its samples are.

    python benchmarks/images.py                               digits, drawings and textures, ten minutes each at most
    python benchmarks/images.py --minutes 3 --data a/ b.npz   of your own

For each: the share of the variance of test images that reconstructions explain, beside as many principal components;
bits per dimension where they are defined; the Fréchet distance to the training images on their 64 leading principal
components, of test images, of samples from N(0, I), and of samples from the fitted prior. Samples are means of p(x|z).
Pictures lie in the folder that it prints.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

GENERATED = ("drawings", "textures")
COMPONENTS = 64
SAMPLES = 2000


def drawings(n: int, seed: int = 0) -> np.ndarray:
    """Scenes in colour, uint8 `[n, 32, 48, 3]`: sky and ground, and sun, house and tree somewhere or nowhere."""
    rng = np.random.default_rng(seed)
    return np.stack([_drawing(rng) for _ in range(n)])


def _drawing(rng: np.random.Generator, width: int = 48, height: int = 32, scale: int = 4) -> np.ndarray:
    def color(low: tuple[int, int, int], high: tuple[int, int, int]) -> tuple[int, ...]:
        return tuple(int(v) for v in rng.integers(low, high))

    picture = Image.new("RGB", (width * scale, height * scale), color((90, 150, 200), (180, 210, 255)))
    draw = ImageDraw.Draw(picture)
    ground = int(rng.uniform(0.6, 0.85) * height * scale)
    draw.rectangle((0, ground, width * scale, height * scale), fill=color((40, 110, 30), (120, 180, 90)))
    if rng.random() < 0.8:
        r, x, y = (v * scale for v in (rng.uniform(2.5, 5), rng.uniform(5, width - 5), rng.uniform(4, 9)))
        draw.ellipse((x - r, y - r, x + r, y + r), fill=color((254, 190, 30), (255, 240, 110)))
    if rng.random() < 0.85:
        w, h, x = (v * scale for v in (rng.uniform(8, 16), rng.uniform(7, 12), rng.uniform(1, width - 17)))
        y = ground + rng.uniform(-1, 2) * scale
        draw.rectangle((x, y - h, x + w, y), fill=color((120, 40, 30), (250, 220, 160)))
        roof = [(x - scale, y - h), (x + w + scale, y - h), (x + w / 2, y - h - rng.uniform(3, 6) * scale)]
        draw.polygon(roof, fill=color((80, 20, 20), (170, 70, 60)))
        draw.rectangle((x + 0.4 * w, y - 0.45 * h, x + 0.6 * w, y), fill=(70, 40, 25))
    if rng.random() < 0.85:
        x, h = rng.uniform(4, width - 4) * scale, rng.uniform(5, 9) * scale
        y, r = ground + rng.uniform(0, 3) * scale, 3.5 * scale
        draw.rectangle((x - 0.2 * r, y - 0.5 * h, x + 0.2 * r, y), fill=(90, 60, 30))
        green = color((10, 80, 20), (60, 140, 60))
        if rng.random() < 0.5:
            draw.polygon([(x - r, y - 0.4 * h), (x + r, y - 0.4 * h), (x, y - 1.5 * h)], fill=green)
        else:
            draw.ellipse((x - r, y - 1.3 * h, x + r, y - 0.4 * h), fill=green)
    return np.asarray(picture.resize((width, height), Image.Resampling.LANCZOS))


def textures(n: int, seed: int = 0, side: int = 32) -> np.ndarray:
    """Grey waves, uint8 `[n, 32, 32]`: two gratings of random direction, frequency and phase, one over the other."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(np.linspace(0, 1, side), np.linspace(0, 1, side), indexing="ij"))
    x = np.zeros((n, side, side))
    for _ in range(2):
        angle, frequency = rng.uniform(0, np.pi, (n, 1, 1)), rng.uniform(1, 4, (n, 1, 1))
        along = np.cos(angle) * grid[0] + np.sin(angle) * grid[1]
        x += rng.uniform(0.3, 1, (n, 1, 1)) * np.sin(2 * np.pi * (frequency * along + rng.uniform(0, 1, (n, 1, 1))))
    return np.round(255 * (0.5 + x / 4)).astype(np.uint8)


def frechet(features: np.ndarray, center: np.ndarray, x: np.ndarray, y: np.ndarray) -> float:
    """Between images of float32 `[N, ...]`, on principal components."""
    from tfpvae.evaluate import frechet_distance

    return frechet_distance(x, y, lambda images: (images.reshape(len(images), -1) - center) @ features)


def line(name: str, data: str, minutes: float, folder: Path) -> str:
    """Trains on the data, and says what came of it."""
    from tfpvae.evaluate import pictures
    from tfpvae.images import save_png
    from tfpvae.training import TrainConfig, evaluate, train

    begin = time.monotonic()
    run = train(TrainConfig(data=data, minutes=minutes), folder / name, say=lambda text: print(f"  {text}", flush=True))
    seconds = time.monotonic() - begin
    images, measured = run.data(), evaluate(run)
    x = images.x_train[:5000]
    flat = x.reshape(len(x), -1)
    center = flat.mean(axis=0)
    axes = np.linalg.svd(flat - center, full_matrices=False)[2][:COMPONENTS].T
    distances = {"test": frechet(axes, center, x, images.x_test)}
    for kind, refined in (("N(0, I)", False), ("fitted", True)):
        vae = run.model(refined=refined)
        distances[kind] = frechet(axes, center, x, np.asarray(vae.sample_mean(SAMPLES, seed=0)))
        save_png(pictures.samples(vae, 64), folder / f"{name}_{'refined' if refined else 'samples'}.png")
    bits = f"{measured['bits_per_dimension']:.3f}" if "bits_per_dimension" in measured else "-"
    alarms = ", ".join(finding["name"] for finding in measured["findings"] if finding["level"] == "alarm") or "none"
    explained = f"{measured['explained_variance']:.3f} | {measured['explained_variance_pca']:.3f}"
    apart = " | ".join(f"{distances[kind]:.2f}" for kind in ("test", "N(0, I)", "fitted"))
    return f"| {name} | {explained} | {bits} | {apart} | {seconds:.0f} | {alarms} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=["digits", *GENERATED], help="what tfpvae train takes, or these")
    parser.add_argument("--minutes", type=float, default=10.0, help="of training for each, at most")
    parser.add_argument("--n", type=int, default=2000, help="how many images are generated")
    parser.add_argument("--out", type=Path, help="a folder for runs and pictures; a temporary one by default")
    options = parser.parse_args()
    folder = options.out or Path(tempfile.mkdtemp(prefix="tfpvae-images-"))
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for data in options.data:
        name = Path(data).stem
        print(name, flush=True)
        if data in GENERATED:
            file = folder / f"{data}.npy"
            np.save(file, {"drawings": drawings, "textures": textures}[data](options.n))
            data = str(file)
        rows.append(line(name, data, options.minutes, folder))
    print("\n| data | variance explained | by as many principal components | bits per dimension |", end="")
    print(" Fréchet: test images | samples of N(0, I) | of the fitted prior | seconds | alarms |")
    print("|---|---|---|---|---|---|---|---|---|")
    print("\n".join(rows))
    print(f"\nPictures: {folder}")


if __name__ == "__main__":
    main()
