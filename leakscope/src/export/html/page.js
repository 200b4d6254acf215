"use strict";
(function () {
  const data = JSON.parse(document.getElementById("data").textContent);
  const by = (id) => document.getElementById(id);
  const search = by("search");

  // Numbers as people read them.
  function told(value, unit) {
    const sign = value < 0 ? "-" : "";
    let n = Math.abs(value);
    const steps = unit === "bytes" ? [["B", 1024], ["KiB", 1024], ["MiB", 1024], ["GiB", 1024], ["TiB", Infinity]]
      : unit === "nanoseconds" ? [["ns", 1000], ["us", 1000], ["ms", 1000], ["s", 60], ["min", 60], ["h", Infinity]]
      : null;
    if (!steps) return sign + n.toLocaleString("en-US");
    let at = 0;
    while (n >= steps[at][1]) n /= steps[at++][1];
    return sign + (at === 0 || n >= 100 ? Math.round(n) : n.toFixed(1)) + " " + steps[at][0];
  }

  // The tree of a profile: frames are listed callers first, each with its depth.
  function grown(flames) {
    const columns = flames.values.length * (data.compared ? 2 : 1);
    const root = { name: "all", below: false, depth: -1, own: new Array(columns).fill(0), callees: [], caller: null };
    let last = root;
    for (let i = 0; i < flames.frames.length; i += 2 + columns) {
      const [depth, name] = flames.frames.slice(i, i + 2);
      while (last.depth >= depth) last = last.caller;
      const own = flames.frames.slice(i + 2, i + 2 + columns);
      const node = { name: flames.names[name >> 1], below: (name & 1) === 1, depth, own, callees: [], caller: last };
      last.callees.push(node);
      last = node;
    }
    return root;
  }

  if (data.flames.length > 0) graphs();

  function graphs() {
    const box = by("flames");
    const trees = data.flames.map(() => null);
    const height = 18;
    let zoomed = null, root = null, flames = null, number = 0;

    const option = (select, text, value) => {
      const one = document.createElement("option");
      one.textContent = text;
      one.value = value;
      select.append(one);
    };
    data.flames.forEach((one, at) => option(by("profile"), one.kind + (one.title ? ": " + one.title : ""), at));
    if (data.compared) {
      for (const [text, value] of [["what is more in the new one", "more"], ["what is less in it", "less"], ["the new one", "new"], ["the old one", "old"]])
        option(by("view"), text, value);
      by("views").hidden = false;
    }

    // How wide a frame is: sums over what it calls, of what is more and of what is less apart.
    function weigh(node) {
      const now = node.own[number], then = data.compared ? node.own[flames.values.length + number] : 0;
      node.now = now;
      node.old = then;
      node.more = Math.max(0, now - then);
      node.less = Math.max(0, then - now);
      for (const callee of node.callees) {
        weigh(callee);
        node.now += callee.now;
        node.old += callee.old;
        node.more += callee.more;
        node.less += callee.less;
      }
      const view = data.compared ? by("view").value : "new";
      node.width = { more: node.more, less: node.less, old: node.old, new: node.now }[view];
      node.callees.sort((a, b) => b.width - a.width || (a.name < b.name ? -1 : 1));
    }

    function color(node) {
      if (data.compared) {
        const change = node.now - node.old, part = Math.min(1, Math.abs(change) / Math.max(node.now, node.old, 1));
        if (change === 0) return "#ddd";
        return "hsl(" + (change > 0 ? 8 : 215) + " 85% " + (88 - 28 * part) + "%)";
      }
      if (node.below) return "#ccc";
      let hash = 7;
      for (const c of node.name) hash = (hash * 31 + c.codePointAt(0)) >>> 0;
      return "hsl(" + (18 + hash % 38) + " " + (75 + (hash >> 8) % 20) + "% " + (68 + (hash >> 16) % 10) + "%)";
    }

    const matches = (node, text) => text !== "" && node.name.toLowerCase().includes(text);

    function describe(node) {
      const unit = flames.values[number][1];
      const part = (whole) => whole.width > 0 ? (100 * node.width / whole.width).toFixed(1) + " %" : "";
      let text = node.name + ": " + told(node.width, unit) + ", " + part(root) + " of all";
      if (zoomed !== root && node !== root) text += ", " + part(zoomed) + " of " + zoomed.name;
      if (data.compared) text += " (old " + told(node.old, unit) + ", new " + told(node.now, unit) + ")";
      return text;
    }

    function draw() {
      const text = search.value.trim().toLowerCase();
      const width = box.clientWidth;
      const parts = document.createDocumentFragment();
      let deepest = 0;
      function put(node, left, wide, row, above) {
        if (wide < 0.4) return;
        deepest = Math.max(deepest, row);
        const frame = document.createElement("div");
        frame.style.left = left + "px";
        frame.style.top = row * height + "px";
        frame.style.width = Math.max(wide, 1) + "px";
        frame.style.background = node === root ? "#ddd" : color(node);
        if (wide > 22) frame.textContent = node.name;
        frame.title = describe(node);
        if (above) frame.className = "above";
        if (text !== "") frame.classList.add(matches(node, text) ? "hit" : "miss");
        frame.node = node;
        parts.append(frame);
      }
      const callers = [];
      for (let node = zoomed.caller; node; node = node.caller) callers.unshift(node);
      callers.forEach((node, row) => put(node, 0, width, row, true));
      (function down(node, left, wide, row) {
        put(node, left, wide, row, false);
        let at = left;
        for (const callee of node.callees) {
          if (callee.width === 0) break;
          const part = wide * callee.width / node.width;
          down(callee, at, part, row + 1);
          at += part;
        }
      })(zoomed, 0, zoomed.width > 0 ? width : 0, callers.length);
      box.replaceChildren(parts);
      box.style.height = Math.min((deepest + 1) * height + 2, innerHeight * 0.7) + "px";
      by("reset").hidden = zoomed === root;
      const unit = flames.values[number][1];
      let said = told(root.width, unit) + " in all";
      if (root.width === 0) said = "there are none";
      else if (flames.left_out) said += ", frames under 0.02 % are not drawn";
      if (text !== "" && root.width > 0) said += ", " + (100 * matched(root, text) / root.width).toFixed(1) + " % below frames that match";
      by("shown").textContent = said;
    }

    // What frames that match are part of, each stack once.
    function matched(node, text) {
      if (matches(node, text)) return node.width;
      return node.callees.reduce((sum, callee) => sum + matched(callee, text), 0);
    }

    function choose() {
      const at = Number(by("profile").value);
      const same = flames === data.flames[at];
      flames = data.flames[at];
      root = trees[at] ??= grown(flames);
      if (!same) {
        by("value").replaceChildren();
        flames.values.forEach(([name], one) => option(by("value"), name, one));
        by("value").value = flames.first;
        zoomed = root;
      }
      number = Number(by("value").value);
      weigh(root);
      if (zoomed.width === 0) zoomed = root;
      by("frame").textContent = "";
      draw();
    }

    function zoom(node) {
      zoomed = node;
      by("frame").textContent = node === root ? "" : describe(node);
      draw();
    }

    box.addEventListener("click", (event) => { if (event.target.node) zoom(event.target.node); });
    box.addEventListener("mouseover", (event) => { if (event.target.node) by("frame").textContent = describe(event.target.node); });
    by("reset").addEventListener("click", () => zoom(root));
    for (const id of ["profile", "value", "view"]) by(id).addEventListener("change", choose);
    search.addEventListener("input", draw);
    addEventListener("resize", draw);
    addEventListener("keydown", (event) => { if (event.key === "Escape" && zoomed !== root) zoom(root); });
    choose();
  }

  // Lines and rows that have what is looked for.
  const lines = Array.from(document.querySelectorAll("#report .l, #report tbody tr"));
  let hits = [], now = -1;
  search.addEventListener("input", () => {
    const text = search.value.trim().toLowerCase();
    hits = [];
    now = -1;
    for (const line of lines) {
      const hit = text !== "" && line.textContent.toLowerCase().includes(text);
      line.classList.toggle("hit", hit);
      line.classList.remove("now");
      if (hit) hits.push(line);
    }
    by("hits").textContent = text === "" ? "" : hits.length === 1 ? "1 line, Enter shows it" : hits.length + " lines, Enter shows the next";
    if (text !== "" && hits.length === 0) by("hits").textContent = "no line has it";
  });
  search.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || hits.length === 0) return;
    if (now >= 0) hits[now].classList.remove("now");
    now = event.shiftKey ? (now <= 0 ? hits.length : now) - 1 : (now + 1) % hits.length;
    hits[now].classList.add("now");
    hits[now].scrollIntoView({ block: "center" });
  });
})();
