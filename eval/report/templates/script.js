"use strict";
for (const box of document.querySelectorAll(".command")) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = document.body.dataset.copy;
  button.addEventListener("click", async () => {
    const text = box.querySelector("code").textContent;
    let done = true;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      done = document.execCommand("copy");
      area.remove();
    }
    button.textContent = done ? document.body.dataset.copied : document.body.dataset.press;
    if (!done) getSelection().selectAllChildren(box.querySelector("code"));
    setTimeout(() => { button.textContent = document.body.dataset.copy; }, 1500);
  });
  box.querySelector("div").append(button);
}
const pick = document.getElementById("pick");
if (pick) {
  const show = () => {
    for (const query of document.querySelectorAll("#picked > .query")) query.hidden = query.dataset.query !== pick.value;
  };
  pick.closest(".pick").hidden = false;
  pick.addEventListener("change", show);
  show();
}
// the link of the section that is being read
const links = new Map([...document.querySelectorAll("nav a[href^='#']")].map((link) => [link.hash.slice(1), link]));
const seen = new Set();
const watch = new IntersectionObserver((entries) => {
  for (const entry of entries) entry.isIntersecting ? seen.add(entry.target.id) : seen.delete(entry.target.id);
  const current = [...links.keys()].find((id) => seen.has(id));
  for (const [id, link] of links) {
    if (id !== current) link.removeAttribute("aria-current");
    else if (!link.hasAttribute("aria-current")) {
      link.setAttribute("aria-current", "true");
      const list = link.closest("ul");
      list.scrollTo({ left: link.offsetLeft - list.clientWidth / 2 + link.clientWidth / 2 });
    }
  }
}, { rootMargin: "-20% 0px -60% 0px" });
for (const id of links.keys()) watch.observe(document.getElementById(id));
