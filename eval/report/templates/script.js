"use strict";
for (const box of document.querySelectorAll(".command")) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
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
    button.textContent = done ? "Copied" : "Press Ctrl+C";
    if (!done) getSelection().selectAllChildren(box.querySelector("code"));
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
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
