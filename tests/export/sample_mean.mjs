// Runs sample_mean.onnx in ONNX Runtime Web's wasm backend: node sample_mean.mjs GRAPH SEED...
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import * as ort from "onnxruntime-web";

ort.env.wasm.numThreads = 1;
const [graph, ...seeds] = process.argv.slice(2);
const weights = join(dirname(graph), "weights.bin");
const externalData = existsSync(weights) ? [{ path: "weights.bin", data: await readFile(weights) }] : [];
const session = await ort.InferenceSession.create(await readFile(graph), { executionProviders: ["wasm"], externalData });
const seed = new ort.Tensor("int64", BigInt64Array.from(seeds.map(BigInt)), [seeds.length]);
const { mean } = await session.run({ seed });
console.log(JSON.stringify({ dims: mean.dims, data: Array.from(mean.data) }));
