"use strict";
const at = (id) => document.getElementById(id);
const address = (kind, name) => `/${kind}/${name.split("/").map(encodeURIComponent).join("/")}`;
const corners = ["x1", "y1", "x2", "y2"].map(at);
const canvas = at("canvas");
const query = { image: null, source: null, box: null };
let newest = 0;

function say(words, isError) {
  at("error").hidden = !isError;
  at(isError ? "error" : "status").textContent = words;
  if (isError) at("status").textContent = "";
}

async function answerOf(response) {
  let answer;
  try {
    answer = await response.json();
  } catch {
    throw new Error("The server gave no answer that could be read.");
  }
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

async function search() {
  if (!query.source) return;
  const number = ++newest;
  const asked = { ...query.source, box: query.box, model: at("model").value, representation: at("representation").value };
  say("Searching…");
  at("results").classList.add("waiting");
  try {
    const answer = await answerOf(await fetch("/search", {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(asked),
    }));
    if (number !== newest) return;
    at("results").replaceChildren(...answer.results.map(shown));
    say(`The ${answer.results.length} most similar of ${answer.pictures} pictures, in ${answer.seconds} s. The score is the cosine similarity.`);
  } catch (error) {
    if (number !== newest) return;
    at("results").replaceChildren();
    say(error.message, true);
  } finally {
    if (number === newest) at("results").classList.remove("waiting");
  }
}

function shown(result, place) {
  const item = document.createElement("li");
  const button = document.createElement("button");
  const image = document.createElement("img");
  const name = document.createElement("span");
  const score = document.createElement("span");
  button.type = "button";
  image.src = address("thumbnails", result.name);
  image.alt = "";
  name.textContent = result.name;
  score.textContent = `${place + 1}. ${result.score.toFixed(4)}`;
  score.className = "score";
  button.append(image, score, name);
  button.addEventListener("click", () => choose(result.name));
  item.append(button);
  return item;
}

function draw() {
  const image = query.image;
  const width = Math.min(canvas.parentElement.clientWidth, Math.max(image.naturalWidth, 320));
  const scale = width / image.naturalWidth;
  canvas.width = width;
  canvas.height = Math.max(1, Math.round(image.naturalHeight * scale));
  const pen = canvas.getContext("2d");
  pen.drawImage(image, 0, 0, canvas.width, canvas.height);
  if (!query.box) return;
  const [x1, y1, x2, y2] = query.box.map((value) => value * scale);
  pen.fillStyle = "rgba(0, 0, 0, .45)";
  pen.beginPath();
  pen.rect(0, 0, canvas.width, canvas.height);
  pen.rect(x1, y1, x2 - x1, y2 - y1);
  pen.fill("evenodd");
  for (const [colour, line] of [["#000", 4], ["#ffdc00", 2]]) {
    pen.strokeStyle = colour;
    pen.lineWidth = line;
    pen.strokeRect(x1, y1, x2 - x1, y2 - y1);
  }
}

function setBox(box) {
  query.box = box;
  corners.forEach((field, i) => { field.value = box ? box[i] : ""; });
  draw();
}

function ask(source, url, words, box) {
  const number = ++newest;
  const image = new Image();
  image.onload = () => {
    if (number !== newest) return;
    Object.assign(query, { image, source });
    at("asked").hidden = false;
    at("what").textContent = words;
    setBox(box);
    search();
  };
  image.onerror = () => say("The picture could not be shown.", true);
  image.src = url;
}

function chosen(name, queryName) {
  at("name").value = name;
  if (at("query")) at("query").value = queryName;
}

function choose(name) {
  chosen(name, "");
  ask({ name }, address("pictures", name), name, null);
  scrollTo({ top: 0, behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
}

async function upload(file) {
  const most = Number(document.body.dataset.uploadMb);
  if (file.size > most * 1024 * 1024) {
    say(`The file is too large: at most ${most} MB go.`, true);
    return;
  }
  say("Uploading…");
  const form = new FormData();
  form.append("photograph", file);
  try {
    const answer = await answerOf(await fetch("/uploads", { method: "POST", body: form }));
    chosen("", "");
    ask({ upload: answer.upload }, `/uploads/${answer.upload}`, file.name, null);
  } catch (error) {
    say(error.message, true);
  }
}

function offerRepresentations() {
  const before = at("representation").value;
  const offered = [...document.querySelectorAll(".representations")].find((one) => one.dataset.model === at("model").value);
  at("representation").replaceChildren(offered.content.cloneNode(true));
  if ([...at("representation").options].some((option) => option.value === before)) at("representation").value = before;
}

at("file").addEventListener("change", () => { if (at("file").files.length) upload(at("file").files[0]); at("file").value = ""; });
for (const kind of ["dragover", "drop", "dragleave"]) {
  addEventListener(kind, (event) => {
    event.preventDefault();
    at("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files.length) upload(event.dataTransfer.files[0]);
  });
}
at("name").addEventListener("change", () => { if (at("name").value) choose(at("name").value); });
at("query")?.addEventListener("change", () => {
  const option = at("query").selectedOptions[0];
  if (!option.value) return;
  chosen("", option.value);
  const { image, box } = option.dataset;
  ask({ name: option.value, query: true }, address("pictures", image), option.value, box.split(",").map(Number));
});
at("model").addEventListener("change", () => { offerRepresentations(); search(); });
at("representation").addEventListener("change", search);
at("whole").addEventListener("click", () => { setBox(null); search(); });
for (const field of corners) {
  field.addEventListener("change", () => {
    if (corners.some((one) => one.value === "")) return;
    setBox(corners.map((one) => Number(one.value)));
    search();
  });
}

let start = null;
const place = (event) => {
  const frame = canvas.getBoundingClientRect();
  const inside = (value, most) => Math.round(Math.max(0, Math.min(most, value)));
  return [
    inside((event.clientX - frame.left) / frame.width * query.image.naturalWidth, query.image.naturalWidth),
    inside((event.clientY - frame.top) / frame.height * query.image.naturalHeight, query.image.naturalHeight),
  ];
};
const between = ([ax, ay], [bx, by]) => [Math.min(ax, bx), Math.min(ay, by), Math.max(ax, bx), Math.max(ay, by)];
canvas.addEventListener("pointerdown", (event) => {
  start = place(event);
  canvas.setPointerCapture(event.pointerId);
});
canvas.addEventListener("pointermove", (event) => { if (start) setBox(between(start, place(event))); });
canvas.addEventListener("pointerup", (event) => {
  if (!start) return;
  const box = between(start, place(event));
  start = null;
  const large = box[2] - box[0] >= 4 && box[3] - box[1] >= 4;
  setBox(large ? box : null);
  search();
});
canvas.addEventListener("pointercancel", () => { start = null; });
addEventListener("resize", () => { if (query.image) draw(); });
offerRepresentations();
