"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const drawn = new Set();

  // Colours are names in the figures, such as $gap: the stylesheet knows them, in light and dark.
  function coloured(value, style) {
    if (typeof value === "string") {
      return /^\$[a-z-]+$/.test(value) ? style.getPropertyValue("--" + value.slice(1)).trim() || value : value;
    }
    if (Array.isArray(value)) {
      return typeof value[0] === "number" ? value : value.map((one) => coloured(one, style));
    }
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, coloured(one, style)]));
    }
    return value;
  }

  function draw(plot) {
    const style = getComputedStyle(document.documentElement);
    const figure = coloured(figures[plot.dataset.call], style);
    figure.layout.font.family = getComputedStyle(document.body).fontFamily;
    if (drawn.has(plot)) figure.layout.xaxis.range = plot.layout.xaxis.range; // as it was zoomed
    drawn.add(plot);
    Plotly.react(plot, figure.data, figure.layout, {
      displaylogo: false,
      responsive: true,
      modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
    });
  }

  // The cursor: a line over the plot at the time of the audio, or of an event that is pointed at.
  function cursor(plot, at) {
    let line = plot.querySelector(".cursor");
    if (!line) {
      line = document.createElement("div");
      line.className = "cursor";
      plot.append(line);
    }
    const layout = plot._fullLayout;
    if (!layout || at === null) return void (line.hidden = true);
    const axis = layout.xaxis;
    const x = axis.l2p(at);
    line.hidden = x < 0 || x > axis._length;
    line.style.left = axis._offset + x + "px";
    line.style.top = layout._size.t + "px";
    line.style.height = layout._size.h + "px";
  }

  function listen(audio, side) {
    // The left channel is what was said, the right one what was heard; one of them alone goes to both ears.
    if (!audio.graph) {
      if (side === "both") return;
      const context = new AudioContext();
      const source = context.createMediaElementSource(audio);
      const splitter = context.createChannelSplitter(2);
      const merger = context.createChannelMerger(2);
      source.connect(splitter);
      merger.connect(context.destination);
      audio.graph = { splitter, merger };
      audio.addEventListener("play", () => context.resume());
      context.resume();
    }
    const { splitter, merger } = audio.graph;
    splitter.disconnect();
    splitter.connect(merger, side === "heard" ? 1 : 0, 0);
    splitter.connect(merger, side === "said" ? 0 : 1, 1);
  }

  function connect(root) {
    const plot = root.querySelector(".plot");
    if (!plot || drawn.has(plot)) return;
    draw(plot);
    const player = root.querySelector(".player");
    const audio = player && player.querySelector("audio");
    const begin = player ? Number(player.dataset.begin) : 0;
    const events = [...root.querySelectorAll(".events li[data-at], .log li[data-at]")];

    function follow() {
      cursor(plot, begin + audio.currentTime);
      if (!audio.paused) requestAnimationFrame(follow);
    }
    if (audio) {
      for (const name of ["play", "seeked", "timeupdate"]) audio.addEventListener(name, follow);
      plot.on("plotly_relayout", follow);
      for (const button of player.querySelectorAll("button")) {
        button.addEventListener("click", () => {
          for (const other of player.querySelectorAll("button")) other.ariaPressed = String(other === button);
          listen(audio, button.dataset.side);
        });
      }
      plot.addEventListener("click", (event) => {
        const axis = plot._fullLayout.xaxis;
        const x = event.clientX - plot.getBoundingClientRect().left - axis._offset;
        if (x >= 0 && x <= axis._length && !event.target.closest(".modebar")) audio.currentTime = Math.max(0, axis.p2l(x) - begin);
      });
    }
    for (const row of events) {
      const at = Number(row.dataset.at);
      row.addEventListener("mouseenter", () => cursor(plot, at));
      row.addEventListener("mouseleave", () => cursor(plot, audio && audio.currentTime ? begin + audio.currentTime : null));
      if (audio) row.querySelector("time").addEventListener("click", () => (audio.currentTime = Math.max(0, at - begin)));
    }
  }

  const calls = document.querySelectorAll("details.call");
  for (const call of calls) call.addEventListener("toggle", () => call.open && connect(call));
  if (!calls.length) connect(document.body);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawn.forEach(draw));
})();
