"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { nodes, groups, edges, measures } = data;
  const svg = document.querySelector("svg.graph");
  const canvas = document.getElementById("canvas");
  const panel = document.getElementById("panel");
  const details = document.getElementById("details");
  const found = document.getElementById("found");
  const search = document.getElementById("search");
  const hint = details.cloneNode(true);
  // How many resources stand unfolded at first, and how many results are listed.
  const MANY = 150;
  const LISTED = 100;
  const CROWD = 400;

  const each = (selector) => [...svg.querySelectorAll(selector)];
  const bands = each(".band");
  const bars = each(".bar");
  const frames = each(".group");
  const heads = each(".head");
  const insides = each(".inside");
  const paths = each(".edge");
  const boxes = [];
  for (const box of each(".node")) boxes[Number(box.dataset.node)] = box;

  const folded = groups.map(() => false);
  const tops = groups.map(() => 0);
  const needs = nodes.map(() => []);
  const needed = nodes.map(() => []);
  edges.forEach(([from, to], number) => {
    needs[from].push(number);
    needed[to].push(number);
  });
  let chosen = null;
  let only = null;
  let hits = null;
  let scale = 1;
  let height = 0;
  let width = measures.width;

  // Elements are made and filled here and nowhere else: a value is always text.
  const element = (name, attributes, ...children) => {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
    made.append(...children);
    return made;
  };

  // --- where everything stands

  const end = (node, side) => {
    const { group, x, y, width } = nodes[node];
    if (folded[group]) return [width - 2 * measures.rim - 40, tops[group] + measures.head / 2];
    return [side === "from" ? x + width : x, tops[group] + y + measures.box_height / 2];
  };

  const route = () => {
    const drawn = new Set();
    edges.forEach(([from, to], number) => {
      const path = paths[number];
      const inside = nodes[from].group === nodes[to].group && folded[nodes[from].group];
      const ends = [from, to].map((node) => (folded[nodes[node].group] ? `g${nodes[node].group}` : node)).join(" ");
      const near = chosen === from || chosen === to;
      const hidden = inside || (drawn.has(ends) && !near);
      drawn.add(ends);
      path.toggleAttribute("hidden", hidden);
      path.style.display = hidden ? "none" : "";
      if (hidden) return;
      const [x1, y1] = end(from, "from");
      const [x2, y2] = end(to, "to");
      // A folded group is reached at its right end, where nothing stands.
      if (folded[nodes[from].group] || folded[nodes[to].group]) {
        const out = Math.max(x1, x2) + 32;
        path.setAttribute("d", `M${x1} ${y1}C${out} ${y1} ${out} ${y2} ${x2} ${y2}`);
        return;
      }
      const bend = Math.min(160, Math.max(28, (x2 - x1) / 2));
      path.setAttribute("d", `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`);
    });
  };

  const arrange = () => {
    let y = measures.rim;
    width = measures.narrow;
    nodes.forEach((node) => {
      if (!folded[node.group]) width = Math.max(width, node.x + node.width + 2 * measures.rim);
    });
    for (const box of [...bands, ...bars]) box.setAttribute("width", width - 2 * measures.rim);
    groups.forEach((group, number) => {
      const tall = folded[number] ? measures.head : group.height;
      tops[number] = y;
      frames[number].setAttribute("transform", `translate(0 ${y})`);
      bands[number].setAttribute("y", y);
      bands[number].setAttribute("height", tall);
      insides[number].style.display = folded[number] ? "none" : "";
      heads[number].setAttribute("aria-expanded", String(!folded[number]));
      heads[number].querySelector(".fold").textContent = folded[number] ? "▸" : "▾";
      y += tall + measures.rim;
    });
    height = Math.max(y, 2 * measures.rim + measures.head);
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    resize();
    route();
  };

  const resize = () => {
    svg.setAttribute("width", Math.round(width * scale));
    svg.setAttribute("height", Math.round(height * scale));
  };

  const fold = (number, whether) => {
    if (folded[number] === whether) return;
    folded[number] = whether;
    arrange();
  };

  const foldAll = (whether) => {
    folded.fill(whether);
    arrange();
  };

  // --- what is shown of a resource

  const lines = (rows) => {
    const names = { "+": "add", "-": "remove", "~": "change" };
    const block = element("div", { class: "lines" });
    for (const [sign, depth, text] of rows) {
      const indent = "\u00a0".repeat(depth * 4);
      const mark = sign === "" ? "" : `${sign} `;
      block.append(element("span", { class: names[sign] || "same" }, `${indent}${mark}${text}` || "\u00a0"));
    }
    return block;
  };

  const section = (title, ...children) => {
    details.append(element("h3", {}, title), ...children);
  };

  const link = (node, why) => {
    const { id, look, symbol } = nodes[node];
    const button = element("button", { type: "button" }, element("span", { class: `dot ${look}` }), symbol ? `${symbol} ${id}` : id);
    if (why) button.append(element("span", { class: "dim" }, `  ${why}`));
    button.addEventListener("click", () => choose(node, true));
    return element("li", {}, button);
  };

  const show = (node) => {
    const it = nodes[node];
    details.replaceChildren(element("h2", {}, it.id));
    if (it.verb) details.append(element("p", { class: `verb ${it.look}` }, it.symbol ? `${it.symbol} ${it.verb}` : it.verb));
    else details.append(element("p", { class: "dim" }, "as it is"));
    const from = [it.document, it.place].filter(Boolean).join(" · ");
    if (from) details.append(element("p", { class: "dim" }, from));
    if (it.why) {
      const rows = it.why.map(([depth, text]) => element("p", {}, "\u00a0".repeat(depth * 4) + text));
      section("Why", ...rows);
    }
    if (it.plan || it.remarks) {
      section("Plan");
      if (it.plan) details.lastChild.after(lines(it.plan));
      for (const remark of it.remarks || []) details.append(element("p", { class: "dim" }, remark));
    }
    if (it.drift) section("Changed outside gabion", ...it.drift.map((text) => element("p", {}, text)));
    if (it.attributes) {
      const were = it.look === "destroy" || it.look === "forget" ? "Attributes, as recorded" : "Attributes";
      section(were, lines(it.attributes));
    }
    const list = (numbers, side) => element("ul", { class: "links" }, ...numbers.map((number) => link(edges[number][side], edges[number][2])));
    if (needs[node].length) section(`Needs ${needs[node].length}`, list(needs[node], 1));
    if (needed[node].length) section(`Needed by ${needed[node].length}`, list(needed[node], 0));
    panel.scrollTop = 0;
  };

  const mark = () => {
    for (const box of svg.querySelectorAll(".chosen, .near")) box.classList.remove("chosen", "near");
    svg.classList.toggle("choosing", chosen !== null);
    boxes.forEach((box, node) => box.setAttribute("aria-pressed", String(node === chosen)));
    if (chosen === null) return;
    boxes[chosen].classList.add("chosen");
    for (const number of [...needs[chosen], ...needed[chosen]]) {
      paths[number].classList.add("near");
      for (const node of edges[number].slice(0, 2)) if (node !== chosen) boxes[node].classList.add("near");
    }
  };

  const choose = (node, move) => {
    chosen = node;
    if (node === null) {
      details.replaceChildren(...hint.cloneNode(true).childNodes);
    } else {
      fold(nodes[node].group, false);
      show(node);
    }
    mark();
    route();
    if (node === null) return;
    rove(boxes[node], move);
    // A name in the address bar leads here again.
    const name = `#${encodeURIComponent(nodes[node].id)}`;
    if (location.hash !== name) location.replace(name);
  };

  // --- search

  const texts = nodes.map((node) =>
    [node.id, node.document, node.place, node.verb, node.look === "keep" ? "unchanged" : node.look, ...(node.why || []).map(([, text]) => text)]
      .concat((node.plan || []).concat(node.attributes || []).map(([, , text]) => text))
      .concat(node.remarks || [], node.drift || [])
      .filter(Boolean)
      .join("\n")
      .toLowerCase());

  const find = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const all = words.length === 0 && only === null;
    hits = all ? null : nodes.map((node, number) => (only === null || node.look === only) && words.every((word) => texts[number].includes(word)));
    svg.classList.toggle("searching", !all);
    boxes.forEach((box, node) => box.classList.toggle("hit", !all && hits[node]));
    groups.forEach((group, number) => {
      const inside = all ? 0 : group.nodes.filter((node) => hits[node]).length;
      let note = heads[number].querySelector(".hits");
      if (inside === 0) {
        if (note) note.remove();
        return;
      }
      if (!note) {
        note = document.createElementNS("http://www.w3.org/2000/svg", "tspan");
        note.setAttribute("class", "hits");
        note.setAttribute("dx", "12");
        heads[number].querySelector(".title").append(note);
      }
      note.textContent = `${inside} found`;
    });
    found.hidden = all;
    if (all) return;
    const list = nodes.map((_, node) => node).filter((node) => hits[node]);
    // A resource whose name fits is what people mean.
    const named = (node) => words.every((word) => nodes[node].id.toLowerCase().includes(word));
    list.sort((a, b) => Number(named(b)) - Number(named(a)) || a - b);
    const count = `${list.length.toLocaleString("en")} of ${nodes.length.toLocaleString("en")} found`;
    const more = list.length > LISTED ? [element("p", { class: "dim" }, `The first ${LISTED} are listed.`)] : [];
    found.replaceChildren(
      element("p", { id: "count" }, count),
      element("ul", { class: "links" }, ...list.slice(0, LISTED).map((node) => link(node))),
      ...more);
  };

  // --- the keyboard: one thing of the picture can be reached with Tab, arrows lead on from there

  let current = null;
  const rove = (thing, move) => {
    if (current) current.setAttribute("tabindex", "-1");
    current = thing;
    current.setAttribute("tabindex", "0");
    if (!move) return;
    current.focus({ preventScroll: true });
    current.scrollIntoView({ block: "center", inline: "center" });
  };
  const visible = () => frames.flatMap((_, number) =>
    folded[number] ? [heads[number]] : [heads[number], ...groups[number].nodes.map((node) => boxes[node])]);
  const step = (by) => {
    const all = visible();
    const at = all.indexOf(current);
    rove(all[Math.min(all.length - 1, Math.max(0, at + by))], true);
  };
  const jump = (node) => {
    fold(nodes[node].group, false);
    rove(boxes[node], true);
  };

  const onHead = (number, key) => {
    if (key === "Enter" || key === " ") fold(number, !folded[number]);
    else if (key === "ArrowRight") fold(number, false);
    else if (key === "ArrowLeft") fold(number, true);
    else return false;
    return true;
  };
  const onNode = (node, key) => {
    if (key === "Enter" || key === " ") choose(node, false);
    else if (key === "ArrowRight" && needs[node].length) jump(edges[needs[node][0]][1]);
    else if (key === "ArrowLeft" && needed[node].length) jump(edges[needed[node][0]][0]);
    else if (key === "ArrowLeft") rove(heads[nodes[node].group], true);
    else return false;
    return true;
  };

  svg.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const moves = { ArrowDown: 1, ArrowUp: -1, Home: -Infinity, End: Infinity };
    let done = event.key in moves;
    const head = heads.indexOf(event.target);
    if (done) step(moves[event.key]);
    else if (head >= 0) done = onHead(head, event.key);
    else if (event.target.dataset.node) done = onNode(Number(event.target.dataset.node), event.key);
    if (done) event.preventDefault();
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "/" && event.target !== search) {
      search.focus();
      search.select();
      event.preventDefault();
    } else if (event.key === "Escape") {
      if (search.value) {
        search.value = "";
        find();
      } else choose(null);
    }
  });
  search.addEventListener("input", find);
  search.addEventListener("keydown", (event) => {
    const first = hits ? nodes.findIndex((node, number) => hits[number] && node.id.toLowerCase().includes(search.value.trim().toLowerCase())) : -1;
    if (event.key !== "Enter" || !hits) return;
    const target = first >= 0 ? first : hits.indexOf(true);
    if (target >= 0) choose(target, true);
  });

  // --- everything that can be clicked

  heads.forEach((head, number) => {
    head.setAttribute("role", "button");
    head.setAttribute("tabindex", "-1");
    head.setAttribute("aria-label", groups[number].title);
    head.addEventListener("click", () => {
      rove(head);
      fold(number, !folded[number]);
    });
  });
  boxes.forEach((box, node) => {
    const { id, verb } = nodes[node];
    box.setAttribute("role", "button");
    box.setAttribute("tabindex", "-1");
    box.setAttribute("aria-label", verb ? `${id}: ${verb}` : id);
    box.addEventListener("click", () => choose(node));
  });
  document.getElementById("fold-all").addEventListener("click", () => foldAll(true));
  document.getElementById("unfold-all").addEventListener("click", () => foldAll(false));
  const zoom = (by) => {
    scale = Math.min(2, Math.max(0.25, scale * by));
    resize();
  };
  document.getElementById("larger").addEventListener("click", () => zoom(1.25));
  document.getElementById("smaller").addEventListener("click", () => zoom(0.8));

  // Whoever is far to the right still sees what the groups are.
  let waiting = false;
  canvas.addEventListener("scroll", () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      const shift = `translate(${Math.round(canvas.scrollLeft / scale)} 0)`;
      for (const text of svg.querySelectorAll(".head text")) text.setAttribute("transform", shift);
    });
  });

  const looks = document.getElementById("looks");
  const words = { destroy: "destroy", replace: "replace", update: "update", create: "create", forget: "forget", keep: "unchanged" };
  const there = Object.keys(words).filter((look) => nodes.some((node) => node.look === look));
  if (there.length > 1) {
    for (const look of there) {
      const number = nodes.filter((node) => node.look === look).length;
      const button = element("button", { type: "button", "aria-pressed": "false", "data-look": look },
        element("span", { class: `dot ${look}` }), `${words[look]} ${number.toLocaleString("en")}`);
      button.addEventListener("click", () => {
        only = only === look ? null : look;
        for (const other of looks.children) other.setAttribute("aria-pressed", String(other.dataset.look === only));
        find();
      });
      looks.append(button);
    }
  }

  // --- the first view: what changes, and of very much only the groups

  const changed = groups.map((group) => group.nodes.filter((node) => nodes[node].look !== "keep").length);
  if (nodes.length > MANY) {
    const open = changed.reduce((sum, number, group) => sum + (number ? groups[group].nodes.length : 0), 0);
    groups.forEach((_, number) => {
      folded[number] = changed[number] === 0 || open > MANY;
    });
    if (groups.length === 1) folded[0] = false;
  }
  svg.classList.toggle("crowded", edges.length > CROWD);
  arrange();
  if (heads.length) rove(heads[0]);
  const follow = () => {
    const wanted = nodes.findIndex((node) => location.hash === `#${encodeURIComponent(node.id)}`);
    if (wanted >= 0 && wanted !== chosen) choose(wanted, true);
  };
  addEventListener("hashchange", follow);
  follow();
})();
