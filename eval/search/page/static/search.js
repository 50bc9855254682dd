"use strict";
// The address says what is searched for: picture=NAME, upload=KEY or query=NAME, and box, by, model. Without one of
// them all pictures are shown to choose from, or by show=queries those of the ground truth. Everything that is chosen
// changes the address; the page shows what the address says.
const LONGEST = 1600; // pixels that a photograph is shrunk to before it is sent
const AS_IT_IS = 3 * 1024 * 1024; // bytes up to which a photograph no longer than that is sent unchanged
const KINDS = ["picture", "upload", "query"];

const at = (id) => document.getElementById(id);
const address = (kind, name) => `/${kind}/${name.split("/").map(encodeURIComponent).join("/")}`;
const corners = ["x1", "y1", "x2", "y2"].map(at);
const canvas = at("canvas");
const boxable = at("file") !== null;
const shown = { image: null, scale: 1, width: 0, height: 0, box: null }; // scale: canvas pixels for one of the picture
let newest = 0; // what is shown, counted: an answer that comes after the next was asked for is dropped
let newestUpload = 0;

// --- what the address says

function asked() {
  const words = new URLSearchParams(location.search);
  const kind = KINDS.find((one) => words.has(one));
  const box = words.get("box")?.split(",").map(Number);
  return {
    kind, name: kind && words.get(kind), as: words.get("as"), by: words.get("by"), model: words.get("model"),
    show: words.get("show") === "queries" && at("of-queries") ? "queries" : "pictures",
    box: box?.length === 4 && box.every(Number.isFinite) ? box : null,
  };
}

function go(changes) {
  const words = new URLSearchParams(location.search);
  if (KINDS.some((kind) => kind in changes)) for (const word of [...KINDS, "as", "box"]) words.delete(word);
  for (const [word, value] of Object.entries(changes)) {
    if (value === null) words.delete(word); else words.set(word, value);
  }
  const target = String(words) ? `/?${words}` : "/";
  if (target !== location.pathname + location.search) history.pushState(null, "", target);
  show();
}

function show() {
  const wanted = asked();
  newest += 1;
  say("");
  offerRepresentations(wanted);
  at("search").hidden = !wanted.kind;
  at("all").hidden = !wanted.kind;
  at("all").textContent = wanted.show === "queries" ? "All queries" : "All pictures";
  at("browse").hidden = Boolean(wanted.kind);
  document.body.classList.toggle("choosing", !wanted.kind);
  document.title = wanted.kind ? `${wanted.as ?? wanted.name}: search by picture` : "Search by picture";
  if (wanted.kind) search(wanted); else browse(wanted.show);
}

function say(words, isError = false) {
  at("error").hidden = !isError;
  at("error").textContent = isError ? words : "";
  at("status").textContent = isError ? "" : words;
}

function offerRepresentations({ model, by }) {
  if ([...(at("model").options ?? [])].some((option) => option.value === model)) at("model").value = model;
  const offered = [...document.querySelectorAll(".representations")].find((one) => one.dataset.model === at("model").value);
  at("representation").replaceChildren(offered.content.cloneNode(true));
  const options = [...at("representation").options];
  if (options.some((option) => option.value === by)) at("representation").value = by;
  at("representation").parentElement.hidden = options.length < 2;
}

// --- searching

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

async function search(wanted) {
  const number = newest;
  const { kind, name, box } = wanted;
  at("what").textContent = wanted.as ?? name;
  say("Searching…");
  at("results").classList.add("waiting");
  const source = { [kind === "picture" ? "name" : kind]: name };
  const question = { ...source, box, model: at("model").value, representation: at("representation").value };
  try {
    const answer = await answerOf(await fetch("/search", {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(question),
    }));
    if (number !== newest) return;
    at("results").replaceChildren(...answer.results.map((one, place) => tile(one.name, place, one.score)));
    const time = answer.seconds ? `, in ${answer.seconds} s` : "";
    say(`The ${answer.results.length} most similar of ${answer.pictures}${time}. 1.000 is the same picture.`);
    await look(answer, number, kind === "upload" ? address("uploads", name) : address("views", answer.picture));
    at("file-itself").hidden = kind === "upload";
    if (kind !== "upload") at("file-itself").href = address("pictures", answer.picture);
  } catch (error) {
    if (number !== newest) return;
    at("results").replaceChildren();
    say(error.message || "The server does not answer.", true);
  } finally {
    if (number === newest) at("results").classList.remove("waiting");
  }
}

async function look({ width, height, box }, number, url) {
  const image = await loaded(url);
  if (number !== newest) return;
  Object.assign(shown, { image, width, height });
  setBox(box);
}

function loaded(url) {
  return new Promise((resolve, reject) => {
    const image = new Image();
    image.onload = () => resolve(image);
    image.onerror = () => reject(new Error("The picture could not be shown."));
    image.src = url;
  });
}

function tile(name, place, score, kind = "picture") {
  const item = document.createElement("li");
  const button = document.createElement("button");
  const image = document.createElement("img");
  const words = document.createElement("span");
  button.type = "button";
  image.src = address(kind === "query" ? "queries" : "thumbnails", name);
  image.loading = "lazy";
  image.alt = "";
  words.append(...name.split("/").flatMap((part, i) => (i ? ["/", document.createElement("wbr"), part] : [part])));
  button.append(image);
  if (score !== undefined) {
    const said = document.createElement("span");
    said.className = "score";
    said.textContent = `${place + 1}. ${score.toFixed(3)}`;
    button.append(said);
  }
  button.append(words);
  button.addEventListener("click", () => choose({ [kind]: name }));
  item.append(button);
  return item;
}

function choose(source) {
  newestUpload += 1;
  go(source);
  scrollTo({ top: 0 });
}

// --- what there is to choose from: a page of it at a time, the next when its end comes into view

const browsed = { what: null, first: 0, count: 0, seed: null, asking: 0, under: false }; // asking: as newest

function browse(what) {
  for (const one of ["pictures", "queries"]) at(`of-${one}`)?.setAttribute("aria-pressed", String(one === what));
  if (browsed.what !== what) begin({ what, first: 0, seed: null });
}

function begin(changes) {
  Object.assign(browsed, changes, { count: 0, under: false });
  browsed.asking += 1;
  at("pictures").replaceChildren();
  more();
}

async function more() {
  if (browsed.under) return;
  browsed.under = true;
  const { what, first, count, seed, asking } = browsed;
  const kind = what === "queries" ? "query" : "picture";
  try {
    const start = first + count;
    const answer = await answerOf(await fetch(`/${what}?start=${start}${seed === null ? "" : `&seed=${seed}`}`));
    if (asking !== browsed.asking) return;
    at("pictures").append(...answer.names.map((name) => tile(name, undefined, undefined, kind)));
    browsed.count = count + answer.names.length;
    at("more").hidden = start + answer.names.length >= answer.all;
    at("going").hidden = answer.all <= 2 * at("from").step;
    at("from").max = answer.all - 1;
    at("from").value = first;
    sayPlace();
    atTheEnd.unobserve(at("more")); // where it is still in view, that is news again
    atTheEnd.observe(at("more"));
  } catch (error) {
    if (asking === browsed.asking) say(error.message || "The server does not answer.", true);
  } finally {
    if (asking === browsed.asking) browsed.under = false;
  }
}

function sayPlace() {
  at("from-words").textContent = `number ${(Number(at("from").value) + 1).toLocaleString("en")}`;
}

const atTheEnd = new IntersectionObserver((seen) => { if (seen.some((one) => one.isIntersecting)) more(); }, { rootMargin: "400px" });

at("more").addEventListener("click", more);
at("from").addEventListener("input", sayPlace);
at("from").addEventListener("change", () => begin({ first: Number(at("from").value) }));
at("shuffle")?.addEventListener("click", () => begin({ first: 0, seed: Math.floor(Math.random() * 1e9) }));
at("of-pictures")?.addEventListener("click", () => go({ show: null }));
at("of-queries")?.addEventListener("click", () => go({ show: "queries" }));

// --- photographs from outside

async function shrunk(file) {
  const url = URL.createObjectURL(file);
  try {
    const image = await loaded(url); // upright: browsers follow a photograph's orientation
    const scale = Math.min(1, LONGEST / Math.max(image.naturalWidth, image.naturalHeight));
    if (scale === 1 && file.size <= AS_IT_IS) return file;
    const small = document.createElement("canvas");
    small.width = Math.max(1, Math.round(image.naturalWidth * scale));
    small.height = Math.max(1, Math.round(image.naturalHeight * scale));
    const pen = small.getContext("2d");
    pen.fillStyle = "#fff";
    pen.fillRect(0, 0, small.width, small.height);
    pen.imageSmoothingQuality = "high";
    pen.drawImage(image, 0, 0, small.width, small.height);
    return await new Promise((resolve) => { small.toBlob((blob) => resolve(blob ?? file), "image/jpeg", 0.93); });
  } catch {
    return file; // what this browser can't show, such as HEIC, the server may read
  } finally {
    URL.revokeObjectURL(url);
  }
}

async function upload(file) {
  if (!boxable) return;
  const number = ++newestUpload;
  at("choose").firstChild.textContent = "Sending…";
  try {
    const sent = await shrunk(file);
    const most = Number(document.body.dataset.uploadMb);
    if (sent.size > most * 1024 * 1024) throw new Error(`The file is too large: at most ${most} MB go.`);
    const form = new FormData();
    form.append("photograph", sent, "photograph");
    const answer = await answerOf(await fetch("/uploads", { method: "POST", body: form }));
    if (number === newestUpload) choose({ upload: answer.upload, as: file.name });
  } catch (error) {
    if (number === newestUpload) say(error.message || "The server does not answer.", true);
  } finally {
    at("choose").firstChild.textContent = "Choose a photograph";
  }
}

at("file")?.addEventListener("change", () => { if (at("file").files.length) upload(at("file").files[0]); at("file").value = ""; });
for (const kind of ["dragover", "drop", "dragleave"]) {
  addEventListener(kind, (event) => {
    event.preventDefault();
    document.body.classList.toggle("over", boxable && kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files.length) upload(event.dataTransfer.files[0]);
  });
}

// --- the picture and the box on it

function draw() {
  const { image, width, height, box } = shown;
  const narrow = matchMedia("(max-width: 52rem)").matches;
  const most = { width: canvas.parentElement.clientWidth, height: innerHeight * (narrow ? 0.3 : 0.6) };
  shown.scale = Math.min(most.width / width, most.height / height, Math.max(1, 320 / width));
  const sharp = devicePixelRatio || 1;
  canvas.style.width = `${width * shown.scale}px`;
  canvas.style.height = `${height * shown.scale}px`;
  canvas.width = Math.max(1, Math.round(width * shown.scale * sharp));
  canvas.height = Math.max(1, Math.round(height * shown.scale * sharp));
  const pen = canvas.getContext("2d");
  pen.imageSmoothingQuality = "high";
  pen.drawImage(image, 0, 0, canvas.width, canvas.height);
  if (!box) return;
  const [x1, y1, x2, y2] = box.map((value) => value * shown.scale * sharp);
  pen.fillStyle = "rgba(0, 0, 0, .45)";
  pen.beginPath();
  pen.rect(0, 0, canvas.width, canvas.height);
  pen.rect(x1, y1, x2 - x1, y2 - y1);
  pen.fill("evenodd");
  for (const [colour, line] of [["#000", 4], ["#ffdc00", 2]]) {
    pen.strokeStyle = colour;
    pen.lineWidth = line * sharp;
    pen.strokeRect(x1, y1, x2 - x1, y2 - y1);
  }
}

function setBox(box) {
  shown.box = box;
  corners.forEach((field, i) => { field.value = box ? box[i] : ""; });
  at("whole").disabled = !box;
  draw();
}

const place = (event) => {
  const frame = canvas.getBoundingClientRect();
  const inside = (value, most) => Math.round(Math.max(0, Math.min(most, value)));
  return [
    inside((event.clientX - frame.left) / frame.width * shown.width, shown.width),
    inside((event.clientY - frame.top) / frame.height * shown.height, shown.height),
  ];
};
const between = ([ax, ay], [bx, by]) => [Math.min(ax, bx), Math.min(ay, by), Math.max(ax, bx), Math.max(ay, by)];
const started = { from: null };

canvas.addEventListener("pointerdown", (event) => {
  if (!boxable || !shown.image) return;
  started.from = place(event);
  canvas.setPointerCapture(event.pointerId);
});
canvas.addEventListener("pointermove", (event) => { if (started.from) setBox(between(started.from, place(event))); });
canvas.addEventListener("pointerup", (event) => {
  if (!started.from) return;
  const box = between(started.from, place(event));
  started.from = null;
  const large = (box[2] - box[0]) * shown.scale >= 8 && (box[3] - box[1]) * shown.scale >= 8;
  if (!large) setBox(asked().box); else go({ box: box.join(",") });
});
canvas.addEventListener("pointercancel", () => { started.from = null; });
for (const field of corners) {
  field.addEventListener("change", () => {
    if (corners.every((one) => one.value !== "")) go({ box: corners.map((one) => Number(one.value)).join(",") });
  });
}
at("whole").addEventListener("click", () => {
  const { kind, name } = asked();
  // a query of the ground truth is its box: the whole picture is a picture of the index
  go(kind === "query" ? { picture: at("file-itself").pathname.split("/").slice(2).map(decodeURIComponent).join("/") } : { [kind]: name, as: asked().as });
});

// --- the rest

at("home").addEventListener("click", (event) => { event.preventDefault(); go({ picture: null, by: null, model: null, show: null }); });
at("all").addEventListener("click", () => { go({ picture: null }); scrollTo({ top: 0 }); });
at("representation").addEventListener("change", () => go({ by: at("representation").value }));
at("model").addEventListener("change", () => go({ model: at("model").value }));
addEventListener("popstate", show);
addEventListener("resize", () => { if (shown.image && !at("search").hidden) draw(); });
canvas.classList.toggle("boxable", boxable);
at("boxable").hidden = !boxable;
at("box").hidden = !boxable;
show();
