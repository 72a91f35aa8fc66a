"use strict";
const enliven = (chart) => {
  const plot = chart.querySelector(".plot");
  const scroll = plot.parentElement;
  const tip = document.getElementById("tip");

  // Titles are for pages without a script: they come late and cannot be styled.
  for (const title of plot.querySelectorAll("title")) {
    title.parentNode.dataset.tip = title.textContent;
    title.remove();
  }

  const stages = new Map();
  for (const piece of plot.querySelectorAll("[data-stage]")) {
    const stage = piece.dataset.stage;
    if (!stages.has(stage)) stages.set(stage, []);
    stages.get(stage).push(piece);
  }
  let lit = null;
  const light = (stage) => {
    if (stage === lit) return;
    for (const piece of stages.get(lit) ?? []) piece.classList.remove("lit");
    for (const piece of stages.get(stage) ?? []) piece.classList.add("lit");
    plot.classList.toggle("one", stage !== null);
    lit = stage;
  };

  plot.addEventListener("pointermove", (event) => {
    const over = event.target.closest("[data-tip]");
    light(event.target.closest("[data-stage]")?.dataset.stage ?? null);
    tip.hidden = !over;
    if (!over) return;
    tip.textContent = over.dataset.tip;
    const { width, height } = tip.getBoundingClientRect();
    const left = Math.min(event.clientX + 14, innerWidth - width - 8);
    const below = event.clientY + 18;
    tip.style.left = `${Math.max(8, left)}px`;
    tip.style.top = `${below + height > innerHeight ? event.clientY - height - 12 : below}px`;
  });
  plot.addEventListener("pointerleave", () => {
    tip.hidden = true;
    light(null);
  });

  // Everything in the plot is a share of its width: to zoom is to make it wider.
  let zoom = 1;
  const zoomTo = (next, clientX) => {
    const frame = scroll.getBoundingClientRect();
    const x = clientX === undefined ? frame.width / 2 : clientX - frame.left;
    const share = (scroll.scrollLeft + x) / plot.clientWidth;
    zoom = Math.min(64, Math.max(1, next));
    plot.style.width = `${zoom * 100}%`;
    scroll.scrollLeft = share * plot.clientWidth - x;
  };
  const tools = chart.querySelector(".tools");
  tools.hidden = false;
  tools.addEventListener("click", (event) => {
    const factor = Number(event.target.dataset.zoom ?? NaN);
    if (!Number.isNaN(factor)) zoomTo(factor === 0 ? 1 : zoom * factor);
  });
  scroll.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    zoomTo(zoom * Math.exp(-event.deltaY / 300), event.clientX);
  }, { passive: false });
};
document.querySelectorAll(".chart").forEach(enliven);
