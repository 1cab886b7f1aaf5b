// The model of the page: tokenizer and ONNX Runtime, one text at a time and without padding, as the ranges of int8
// are those of one run: a neighbour would change what a text is told.
import * as ort from "./ort.js";
import { Tokenizer } from "./tokenizers.js";

const MODEL = "model.onnx";
const RUNTIME = "ort.wasm.bin";
const GZIP = [0x1f, 0x8b];

/** A file as bytes; `onBytes` is told of each piece. */
async function fetched(name, onBytes) {
  const answer = await fetch(name);
  if (!answer.ok) throw new Error(`${name}: ${answer.status}`);
  const reader = answer.body.getReader();
  const pieces = [];
  for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
    pieces.push(piece.value);
    onBytes(piece.value.length);
  }
  return new Uint8Array(await new Blob(pieces).arrayBuffer());
}

/** Unpacked where it is still packed: some servers let the browser unpack it. */
async function unpacked(bytes) {
  if (bytes[0] !== GZIP[0] || bytes[1] !== GZIP[1]) return bytes;
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function json(name) {
  const answer = await fetch(name);
  if (!answer.ok) throw new Error(`${name}: ${answer.status}`);
  return answer.json();
}

// As Rust's tokenizers have them, which look at one code point at a time: JavaScript lowers a last sigma to another
// letter, and the tokenizer beside this does not see ideographs beyond 16 bits.
const FAR_IDEOGRAPHS =
  /[\u{20000}-\u{2a6df}\u{2a700}-\u{2b73f}\u{2b740}-\u{2b81f}\u{2b920}-\u{2ceaf}\u{2f800}-\u{2fa1f}]/gu;

class Reader {
  constructor(facts, tokenizer, config) {
    const normalizer = tokenizer.normalizer ?? {};
    this.bert = normalizer.type === "BertNormalizer" ? normalizer : {};
    this.most = facts.max_length;
    this.left = config.truncation_side === "left";
    this.tokenizer = new Tokenizer(tokenizer, config);
    const [whole, bare] = [true, false].map((special) => this.ids("a", special));
    this.before = whole.indexOf(bare[0]); // special tokens before a text, and after the last one
    this.after = whole.length - bare.length - this.before;
  }

  /** {ids, types, cut} of a text, or of a pair, at most `most` tokens. */
  read([first, second]) {
    // The tokenizer takes an empty second text for none: another stands in for it, and is taken out again.
    const asked = [first, second === "" ? "a" : second].filter((text) => text !== undefined);
    const texts = asked.map((text) => this.plain(text));
    const { ids, token_type_ids: types } = this.tokenizer.encode(texts[0], {
      text_pair: texts[1] ?? null,
      return_token_type_ids: true,
    });
    if (ids.length <= this.most && second !== "") return { ids, types, cut: false };
    const lengths = texts.map((text) => this.ids(text, false).length);
    const kept = this.kept(lengths, ids.length, second === "");
    const cut = kept.length < ids.length - (second === "" ? lengths[1] : 0);
    return { ids: kept.map((place) => ids[place]), types: kept.map((place) => types[place]), cut };
  }

  /** Places that stay where there are too many: of a pair, the longer text is cut first; `alone`: its second goes. */
  kept(lengths, count, alone) {
    const room = this.most - (count - lengths.reduce((sum, length) => sum + length, 0));
    const wanted = lengths.length === 1 ? [room] : shared([lengths[0], alone ? 0 : lengths[1]], room);
    const starts = [this.before, count - this.after - lengths.at(-1)];
    const gone = new Set();
    lengths.forEach((length, index) => {
      const stay = Math.min(length, wanted[index]);
      const start = starts[index] + (this.left ? 0 : stay);
      for (let place = start; place < start + length - stay; place++) gone.add(place);
    });
    return [...Array(count).keys()].filter((place) => !gone.has(place));
  }

  ids(text, special) {
    return this.tokenizer.encode(text, { add_special_tokens: special }).ids;
  }

  plain(text) {
    const lowered = this.bert.lowercase ? text.replaceAll("Σ", "σ") : text;
    return this.bert.handle_chinese_chars ? lowered.replace(FAR_IDEOGRAPHS, " $& ") : lowered;
  }
}

/** How many tokens of two texts stay in `room`: as "longest_first" of Rust's tokenizers. */
function shared(lengths, room) {
  let [short, long] = [Math.min(...lengths), Math.max(...lengths)];
  long = short > room ? short : Math.max(short, room - short);
  if (short + long > room) {
    short = Math.floor(room / 2);
    long = short + (room % 2);
  }
  return lengths[0] > lengths[1] ? [long, short] : [short, long];
}

const SAYS = {
  classify: softmaxed,
  pair: softmaxed,
  multilabel: (logits, labels) => ({
    probabilities: logits.map((one) => 1 / (1 + Math.exp(-one))),
    labels: labels.filter((_, index) => logits[index] > 0),
  }),
  regress: (logits) => ({ value: logits[0], probabilities: [] }),
};

function softmaxed(logits, labels) {
  const most = Math.max(...logits);
  const shares = logits.map((one) => Math.exp(one - most));
  const sum = shares.reduce((total, share) => total + share, 0);
  const probabilities = shares.map((share) => share / sum);
  const best = logits.indexOf(most);
  return { label: labels[best], probability: probabilities[best], probabilities };
}

class Model {
  constructor(facts, reader, session) {
    Object.assign(this, { facts, reader, session });
  }

  static async load(onProgress) {
    const facts = await json("page.json");
    const all = facts.bytes[MODEL] + facts.bytes[RUNTIME];
    let done = 0;
    const onBytes = (count) => onProgress({ done: (done += count), all });
    const [model, runtime, tokenizer, config] = await Promise.all([
      fetched(MODEL, onBytes),
      fetched(RUNTIME, onBytes).then(unpacked),
      json("tokenizer.json"),
      json("tokenizer_config.json"),
    ]);
    ort.env.wasm.numThreads = 1; // more want headers that a plain server does not send
    ort.env.wasm.wasmBinary = runtime;
    const session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
    const loaded = new Model(facts, new Reader(facts, tokenizer, config), session);
    await loaded.classify(Array(facts.inputs).fill("a")); // the first run is several times as slow
    return loaded;
  }

  /** Token ids of one text or pair, as the model is given them. */
  tokens(texts) {
    return this.reader.read(texts).ids;
  }

  async classify(texts) {
    const begun = performance.now();
    const { ids, types, cut } = this.reader.read(texts);
    const known = { input_ids: ids, attention_mask: ids.map(() => 1), token_type_ids: types };
    const fed = Object.fromEntries(
      this.session.inputNames.map((name) => [
        name,
        new ort.Tensor("int64", BigInt64Array.from(known[name], BigInt), [1, ids.length]),
      ]),
    );
    const given = await this.session.run(fed);
    const logits = [...given[this.session.outputNames[0]].data];
    const said = SAYS[this.facts.task](logits, this.facts.labels);
    return { ...said, logits, cut, tokens: ids.length, milliseconds: performance.now() - begun };
  }
}

const loading = Model.load((progress) => self.postMessage({ progress }));
loading.then(
  ({ facts }) => self.postMessage({ facts: { ...facts, bytes: summed(facts.bytes) } }),
  (error) => self.postMessage({ broken: String(error.message ?? error) }),
);

function summed(bytes) {
  const of = (names) => names.reduce((sum, name) => sum + (bytes[name] ?? 0), 0);
  const runtime = of([RUNTIME, "ort.js", "tokenizers.js"]);
  return { model: of([MODEL, "tokenizer.json", "tokenizer_config.json"]), runtime };
}

let turn = loading; // one request after another: a session runs one text at a time
self.onmessage = ({ data }) => {
  turn = turn.then(() => answered(data));
};

/** `asked` is "classify" or "tokens". */
async function answered({ id, asked, texts }) {
  try {
    const model = await loading;
    const found = [];
    for (const one of texts) found.push(await model[asked]([one].flat()));
    self.postMessage({ id, found });
  } catch (error) {
    self.postMessage({ id, error: String(error.message ?? error) });
  }
}
