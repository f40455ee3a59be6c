"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const byId = (id) => document.getElementById(id);
  const charWidth = 7.25;
  const views = [];

  // Drawings: everything moves by its data-x, in pixels at zoom 1.
  for (const section of all(".drawing")) {
    const scroll = section.querySelector(".scroll"), svg = section.querySelector("svg.chart");
    const ops = all(".op", svg), ticks = all(".tick", svg), width = +svg.dataset.w;
    const moved = all("g[data-x]", svg).map((g) => [g, +g.dataset.x, g.dataset.y || 0]);
    const labels = all("text[data-x]", svg), path = svg.querySelector(".path");
    const spots = (path.dataset.points || "").split(" ").filter(Boolean).map((p) => p.split(",").map(Number));
    for (const op of ops) op.dataset.label = op.querySelector("text").textContent;
    const view = { zoom: 1, ops, svg };
    const place = () => {
      const z = view.zoom;
      svg.setAttribute("width", Math.max(width * z, scroll.clientWidth));
      for (const [g, x, y] of moved) g.setAttribute("transform", `translate(${x * z},${y})`);
      for (const op of ops) {
        const w = Math.max(+op.dataset.w * z, 3), text = op.querySelector("text");
        op.querySelector("rect").setAttribute("width", w);
        const label = op.dataset.label, room = Math.floor((w - 12) / charWidth);
        text.textContent = label.length <= room ? label : label.slice(0, Math.max(0, room - 1)) + "…";
        text.style.display = room > 2 ? "inline" : "none";
      }
      path.setAttribute("points", spots.map(([x, y]) => `${x * z},${y}`).join(" "));
      for (const e of all(".edge path", svg)) {
        const [x1, y1, c1, x2, y2, c2] = e.dataset.e.split(" ").map(Number);
        e.setAttribute("d", `M${x1 * z} ${y1}C${x1 * z} ${c1} ${x2 * z} ${c2} ${x2 * z} ${y2}`);
      }
      for (const t of labels) t.setAttribute("x", t.dataset.x * z);
      const end = svg.querySelector(".end");
      const right = end ? +end.dataset.x * z : Infinity;
      let last = -99;
      for (const tick of ticks) {
        const x = +tick.dataset.x * z, clear = x - last > 44 && (x < right - 150 || x > right + 30);
        tick.style.display = clear ? "" : "none";
        if (clear) last = x;
      }
      if (end) end.querySelector("text").style.textAnchor = right < 150 ? "start" : "end";
    };
    view.zoomTo = (zoom, at = scroll.clientWidth / 2) => {
      const x = (scroll.scrollLeft + at) / view.zoom;
      view.zoom = Math.min(8, Math.max(0.02, zoom));
      place();
      scroll.scrollLeft = x * view.zoom - at;
    };
    view.fit = () => view.zoomTo((scroll.clientWidth - 4) / width);
    view.clash = () => {
      const core = ops.filter((op) => op.classList.contains("core"));
      const from = Math.min(...core.map((op) => +op.dataset.x));
      const to = Math.max(...core.map((op) => +op.dataset.x + (op.classList.contains("open") ? 60 : +op.dataset.w)));
      const room = scroll.clientWidth;
      const all = room / (width + 4), clashOnly = (room - 60) / Math.max(1, to - from);
      if (room < 500) return view.zoomTo(Math.min(1.2, Math.max(0.3, all)));
      view.zoomTo(all >= 0.85 ? Math.min(1.5, all) : clashOnly >= 0.85 ? Math.min(1.2, clashOnly) : 1);
      const clash = Math.max(0, (to - from) * view.zoom);
      scroll.scrollLeft = clash < room ? (from + to) / 2 * view.zoom - room / 2 : to * view.zoom - room + 60;
    };
    for (const button of all("button[data-do]", section)) {
      button.addEventListener("click", () => ({
        in: () => view.zoomTo(view.zoom * 1.4), out: () => view.zoomTo(view.zoom / 1.4), fit: view.fit, clash: view.clash,
      })[button.dataset.do]());
    }
    scroll.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.altKey && !event.metaKey) return;
      event.preventDefault();
      view.zoomTo(view.zoom * (event.deltaY < 0 ? 1.15 : 1 / 1.15), event.clientX - scroll.getBoundingClientRect().left);
    }, { passive: false });
    scroll.addEventListener("keydown", (event) => {
      const action = { "+": () => view.zoomTo(view.zoom * 1.4), "=": () => view.zoomTo(view.zoom * 1.4),
        "-": () => view.zoomTo(view.zoom / 1.4), "0": view.fit, "Home": view.clash }[event.key];
      if (action && !event.ctrlKey && !event.metaKey) { event.preventDefault(); action(); }
    });
    let held = null;
    scroll.addEventListener("pointerdown", (event) => { if (event.button === 0) held = [event.clientX, scroll.scrollLeft]; });
    window.addEventListener("pointermove", (event) => {
      if (!held) return;
      scroll.classList.add("drag");
      scroll.scrollLeft = held[1] - (event.clientX - held[0]);
    });
    window.addEventListener("pointerup", () => { held = null; scroll.classList.remove("drag"); });
    views.push(view);
    svg.classList.toggle("crowded", spots.length > 40);
    view.clash();
    let seen = scroll.clientWidth;
    window.addEventListener("resize", () => {
      const before = seen;
      seen = scroll.clientWidth;
      // Nothing could be measured of what was hidden.
      if (seen) before ? place() : view.clash();
    });
    const details = section.closest("details");
    if (details) details.addEventListener("toggle", view.clash);
  }

  // Details on hover and focus.
  const tip = byId("tip");
  const show = (target) => {
    tip.textContent = target.getAttribute("aria-label");
    tip.style.display = "block";
    const box = target.getBoundingClientRect(), size = tip.getBoundingClientRect();
    const left = Math.max(8, Math.min(Math.max(box.left, 8), window.innerWidth - size.width - 8));
    const below = box.bottom + 10 + size.height < window.innerHeight;
    tip.style.left = left + "px";
    tip.style.top = (below ? box.bottom + 10 : Math.max(8, box.top - size.height - 10)) + "px";
  };
  const hide = () => { tip.style.display = "none"; };
  const about = (event) => event.target.closest ? event.target.closest(".op,.point") : null;
  document.addEventListener("pointerover", (event) => { const t = about(event); t ? show(t) : hide(); });
  document.addEventListener("focusin", (event) => { const t = about(event); t ? show(t) : hide(); });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
  document.addEventListener("scroll", hide, true);

  // Filters.
  const process = byId("by-process"), fn = byId("by-function"), text = byId("by-text"), core = byId("by-core");
  if (process) {
    const values = (name) => [...new Set(views.flatMap((view) => view.ops.map((op) => op.dataset[name])))];
    const fill = (select, list) => { for (const value of list) select.append(new Option(value, value)); };
    fill(process, values("p").sort((a, b) => a - b));
    fill(fn, values("f").sort());
    const filter = () => {
      const wanted = text.value.toLowerCase();
      for (const op of views.flatMap((view) => view.ops)) {
        const on = (!process.value || op.dataset.p === process.value) && (!fn.value || op.dataset.f === fn.value) &&
          (!core.checked || op.classList.contains("core")) && (!wanted || op.getAttribute("aria-label").toLowerCase().includes(wanted));
        op.classList.toggle("off", !on);
      }
    };
    for (const input of [process, fn, text, core]) input.addEventListener("input", filter);
  }

  // The table of parts.
  const parts = byId("parts"), find = byId("find");
  if (parts) {
    const body = parts.tBodies[0], heads = all("th", parts);
    heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      for (const other of heads) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const key = (row) => row.cells[column].textContent;
      const number = head.classList.contains("n");
      const order = (a, b) => number ? key(a).replaceAll(",", "") - key(b).replaceAll(",", "") : key(a).localeCompare(key(b), undefined, { numeric: true });
      body.append(...[...body.rows].sort((a, b) => up ? order(a, b) : order(b, a)));
    }));
    find.addEventListener("input", () => {
      for (const row of body.rows) row.hidden = !row.textContent.toLowerCase().includes(find.value.toLowerCase());
    });
  }
})();
