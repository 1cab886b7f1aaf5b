// The face of the page: words, fields, bars. The model runs in worker.js, so that typing never waits for it.
// `window.trimtab` is the same for scripts: `classify(texts)`, texts or pairs of texts to what the model says of each,
// and `tokens(texts)`, to the ids it is given.
"use strict";

const WORDS = {
  en: {
    title: "Text classifier",
    lead: "Write a text; it is classified while you type. It never leaves this browser.",
    text: "Your text",
    texts: ["First text", "Second text"],
    loading: (done, all) => `Loading the model: ${done} of ${all}`,
    starting: "Starting the model …",
    result: "The model says",
    nothing: "none of the labels",
    more: (count) => ` · ${count} other labels are less likely`,
    time: (ms, tokens) => `${ms} ms for ${tokens} tokens`,
    cut: (most) => ` · the text is longer than ${most} tokens, the rest was not read`,
    about: (model, runtime) => `Runs in this browser alone: model and tokenizer ${model}, runtime ${runtime}.`,
    failed: (why) => `The model could not be loaded: ${why}`,
  },
  zh: {
    title: "文本分类",
    lead: "输入文本，边写边分类。内容不会离开这个浏览器。",
    text: "您的文本",
    texts: ["第一段文本", "第二段文本"],
    loading: (done, all) => `正在加载模型：${done} / ${all}`,
    starting: "正在启动模型……",
    result: "模型的判断",
    nothing: "不属于任何标签",
    more: (count) => ` · 另有 ${count} 个标签可能性更低`,
    time: (ms, tokens) => `用时 ${ms} 毫秒，${tokens} 个 token`,
    cut: (most) => ` · 文本超过 ${most} 个 token，其余部分未读`,
    about: (model, runtime) => `完全在浏览器中运行：模型与分词器 ${model}，运行环境 ${runtime}。`,
    failed: (why) => `无法加载模型：${why}`,
  },
};
const LANGUAGE = navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
const SAY = WORDS[LANGUAGE];
const SHOWN = 8; // bars at a time
const PAUSE = 120; // ms without a key before a text is classified

const at = (id) => document.getElementById(id);
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
const number = new Intl.NumberFormat(LANGUAGE, { maximumFractionDigits: 1 });
const percent = new Intl.NumberFormat(LANGUAGE, { style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 });

/** The worker, asked by number and answered by number. */
class Model {
  constructor(onProgress) {
    this.asked = new Map();
    this.worker = new Worker("worker.js", { type: "module" });
    this.loaded = new Promise((resolve, reject) => {
      this.worker.onmessage = ({ data }) => {
        if (data.progress) onProgress(data.progress);
        else if (data.facts) resolve(data.facts);
        else if (data.broken) reject(new Error(data.broken));
        else this.answer(data);
      };
      this.worker.onerror = (event) => reject(new Error(event.message || "worker.js"));
    });
  }

  answer({ id, found, error }) {
    const { resolve, reject } = this.asked.get(id);
    this.asked.delete(id);
    if (error === undefined) resolve(found);
    else reject(new Error(error));
  }

  async ask(asked, texts) {
    await this.loaded;
    return new Promise((resolve, reject) => {
      const id = (this.last = (this.last ?? 0) + 1);
      this.asked.set(id, { resolve, reject });
      this.worker.postMessage({ id, asked, texts });
    });
  }
}

function showWords() {
  document.documentElement.lang = LANGUAGE === "zh" ? "zh-CN" : "en";
  document.title = at("title").textContent = SAY.title;
  at("lead").textContent = SAY.lead;
  at("result-title").textContent = SAY.result;
  at("loading-label").textContent = SAY.starting;
}

function showProgress({ done, all }) {
  at("progress").value = all ? done / all : 0;
  at("loading-label").textContent = done < all ? SAY.loading(megabytes(done), megabytes(all)) : SAY.starting;
}

function addFields(count) {
  const names = count === 1 ? [SAY.text] : SAY.texts;
  return names.map((name, index) => {
    const field = document.createElement("div");
    const label = document.createElement("label");
    const area = document.createElement("textarea");
    field.className = "field";
    label.htmlFor = area.id = `text-${index}`;
    label.textContent = name;
    area.dir = "auto";
    area.rows = 4;
    field.append(label, area);
    at("inputs").append(field);
    return area;
  });
}

function bar({ label, share, said }) {
  const row = document.createElement("li");
  const parts = ["label", "track", "share"].map((name) => {
    const part = document.createElement("span");
    part.className = name;
    row.append(part);
    return part;
  });
  const filled = document.createElement("div");
  filled.className = "bar";
  filled.style.width = `${100 * share}%`;
  parts[0].textContent = label;
  parts[1].append(filled);
  parts[1].setAttribute("aria-hidden", "true"); // the number beside it says the same
  parts[2].textContent = percent.format(share);
  row.classList.toggle("said", said);
  return row;
}

function show(found, facts) {
  const rows = facts.labels.map((label, index) => ({
    label,
    share: found.probabilities[index],
    said: facts.task === "multilabel" ? found.labels.includes(label) : label === found.label,
  }));
  const most = rows.length <= SHOWN ? rows : [...rows].sort((a, b) => b.share - a.share).slice(0, SHOWN);
  at("summary").textContent = summary(found, facts);
  at("bars").replaceChildren(...most.map(bar));
  at("time").textContent =
    SAY.time(number.format(found.milliseconds), found.tokens) +
    (found.cut ? SAY.cut(facts.max_length) : "") +
    (most.length < rows.length ? SAY.more(rows.length - most.length) : "");
  at("result").hidden = false;
}

function summary(found, facts) {
  if (facts.task === "regress") return number.format(found.value);
  if (facts.task === "multilabel") return found.labels.join(" · ") || SAY.nothing;
  return `${found.label} · ${percent.format(found.probability)}`;
}

/** Classifies what the fields hold, a moment after the last key; an answer to what is no longer there is dropped. */
function listen(areas, model, facts) {
  let waiting, latest = 0;
  const classify = async () => {
    const mine = ++latest;
    const texts = areas.map((area) => area.value);
    if (texts.some((text) => !text.trim())) {
      at("result").hidden = true;
      return;
    }
    const [found] = await model.ask("classify", [texts]);
    if (mine === latest) show(found, facts);
  };
  const soon = () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => classify().catch(fail), PAUSE);
  };
  areas.forEach((area) => area.addEventListener("input", soon));
  soon(); // of what was typed while the model loaded
}

function fail(error) {
  at("loading").hidden = true;
  at("failure").textContent = SAY.failed(error.message);
  at("failure").hidden = false;
}

async function start() {
  if (location.protocol === "file:") return; // the notice stays
  showWords();
  at("served").hidden = true;
  at("form").hidden = false;
  at("form").addEventListener("submit", (event) => event.preventDefault());
  const model = new Model(showProgress);
  window.trimtab = {
    loaded: model.loaded,
    classify: (texts) => model.ask("classify", texts),
    tokens: (texts) => model.ask("tokens", texts),
  };
  try {
    const facts = await (await fetch("page.json")).json();
    const areas = addFields(facts.inputs);
    const { bytes } = await model.loaded;
    at("about").textContent = SAY.about(megabytes(bytes.model), megabytes(bytes.runtime));
    at("loading").hidden = true;
    listen(areas, model, facts);
  } catch (error) {
    fail(error);
  }
}

start();
